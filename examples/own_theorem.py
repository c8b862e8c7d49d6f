"""A theorem of one's own with its proof's check, its figure and its sweep: docs/tutorials/run-your-own-theorem.md.

For any two samples, λ_min(K) is at most the Schur complement K_ii − K_ij²/K_jj of their 2 × 2 block.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntkscope import Instance, Paper
from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.measures.instances import TrialInstance
from ntkscope.experiments.measures.quantities import quantity
from ntkscope.experiments.reading.constants import fit_constant
from ntkscope.experiments.reading.drawing import curve
from ntkscope.experiments.reading.table import Table
from ntkscope.statements.balls.ball_instance import smallest_of
from ntkscope.statements.findings import Findings
from ntkscope.statements.quantity import Quantity

PAPER = Paper("own2027", short="My notes, 2027", title="Neighbours bound the smallest eigenvalue")


def complement(K: Tensor) -> Tensor:
    """min over i ≠ j of K_ii − K_ij²/K_jj."""
    diagonal = K.diagonal()
    values = diagonal[:, None] - K.square() / diagonal
    return values.fill_diagonal_(torch.inf).min()


# 1. the statement


@PAPER.statement(
    "neighbour",
    title="The neighbour's bound",
    section="Theorem 1",
    sentence="λ_min(K) is at most K_ii − K_ij²/K_jj for any two samples, and of order d.",
    latex=r"\lambda_{\min}(K)\le\min_{i\ne j}\big(K_{ii}-K_{ij}^2/K_{jj}\big)",
    level2="the bound at the best pair",
)
def neighbour(i: Instance, out: Findings) -> None:
    out.hypothesis("two samples at least", i.N >= 2, i.N, 2)
    if i.N < 2:
        return
    # entries of K are wrong by γ √(K_ii K_jj), the complement by 4γ of the diagonal
    gamma = i.kernel.forming_error() / float(i.K.diagonal().sum())
    right = Quantity(float(complement(i.K)), 4 * gamma * float(i.K.diagonal().max()))
    out.conclude_at_most("λ_min(K) ≤ min K_ii − K_ij²/K_jj", i.lambda_K, right, key="complement")
    out.step_order("λ_min(K)", i.lambda_K, "Ω", i.d, "d", key="order")


# 2. its confirmer: the same two sides in ball arithmetic


@PAPER.confirmer("neighbour", "complement")
def neighbour_in_balls(b: Any) -> tuple[Any, Any]:
    K, N = b.K, b.i.N
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j]
    return b.lambda_K, smallest_of([K[i, i] - K[i, j] ** 2 / K[j, j] for i, j in pairs])


# 3. a quantity that any sweep may measure


@quantity("complement")
def measured_complement(instance: TrialInstance) -> float:
    return float(complement(instance.kernel.dense()))


# 4. the figure: a sweep, how it is drawn, what it says


def settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"own2027-neighbour-{scale}",
        "plugin": [str(Path(__file__).resolve())],  # worker processes load it too
        "measure": ["lambda_min", "complement"],
        "seeds": 10 if full else 3,
        "grid": {"d": [50, 100, 200, 400] if full else [20, 40, 80]},
        "data": f"sphere:N={200 if full else 40},d={{d}}",
        "network": {"widths": ["d", "8*d", 1], "parameterization": "ntk"},
    }


def draw(table: Table, axes: list[Any]) -> None:
    for index, (column, label) in enumerate(
        (("lambda_min", r"$\lambda_{\min}$"), ("complement", "bound"))
    ):
        curve(axes[0], table.trials("d", column), label, index)
    axes[0].set(xlabel="d", xscale="log", yscale="log")
    axes[0].legend(frameon=False)


def analyse(table: Table) -> Analysis:
    ratios = table.column("lambda_min") / table.column("complement")
    fit = fit_constant(table, "1 - lambda_min/complement", "1/d")[0]
    return Analysis(
        f"λ_min is {ratios.min():.3g} to {ratios.max():.3g} of the bound.",
        facts=(("gap 1 − λ_min/bound over 1/d", str(fit)),),
        numbers={"ratios": np.round(ratios, 6).tolist()},
    )


FIGURE = Figure(
    id="own2027-neighbour",
    title="λ_min under the neighbour's bound",
    source="My notes, Theorem 1",
    claim="λ_min(K) ≤ min K_ii − K_ij²/K_jj.",
    setup="One hidden layer of 8d ReLU neurons, data on the sphere, N = 200 (quick: 40).",
    choices=("The sphere, so that all K_ii agree in the mean.",),
    settings=settings,
    draw=draw,
    analyse=analyse,
)
