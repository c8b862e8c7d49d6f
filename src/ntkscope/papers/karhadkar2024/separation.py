"""Karhadkar et al. 2024: the separation of the data."""

from __future__ import annotations

import math

import torch

from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.geometry import require_separated
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import rounded


@PAPER.statement(
    "separation",
    title="Separation",
    section="separation",
    sentence="Data are δ-separated if every ‖x_i − x_k‖ and ‖x_i + x_k‖ with i ≠ k is at least δ.",
    latex=r"\min_{i\ne k}\min(\|x_i-x_k\|,\|x_i+x_k\|)\ge\delta",
    needs=(),
    level2="δ ≤ √2 and δ ≤ δ′ ≤ √(2N/(N−1)), the simplex's; 1 ≤ ‖X‖² ≤ N",
)
def separation(i: Instance, out: Findings) -> None:
    found = require_separated(i, out)
    delta, near = found.delta, found.delta_prime
    out.conclude_at_most("δ ≤ √2", delta, rounded(math.sqrt(2), 1), key="half-turn")
    out.at_most("δ ≤ δ′", delta, near, tautology=True, key="both-signs")
    simplex = rounded(math.sqrt(2 * i.N / (i.N - 1)), 4)
    out.conclude_at_most("δ′ ≤ √(2N/(N−1))", near, simplex, key="simplex")
    norm_sq = torch.linalg.matrix_norm(found.unit, 2) ** 2
    out.at_most("‖X‖² ≤ N", rounded(norm_sq, 8 * max(found.unit.shape)), float(i.N), tautology=True,
                key="norm")  # fmt: skip
    out.table(
        "Geometry of the rows, scaled to norm 1", ("δ", "δ′", "nearest", "most opposite", "‖X‖²"),
        [[delta.value, near.value, str(found.nearest), str(found.opposite), float(norm_sq)]],
    )  # fmt: skip
