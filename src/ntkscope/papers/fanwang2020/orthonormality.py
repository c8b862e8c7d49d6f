"""Fan and Wang 2020: approximate orthonormality of the data and of every layer's features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.fanwang2020 import PAPER
from ntkscope.papers.fanwang2020.setting import setting
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import rounded


def deviations(gram: Tensor) -> tuple[float, float, float]:
    """(ε, ‖X‖, √Σ(‖x‖² − 1)²) of columns with this Gram matrix."""
    lengths = gram.diagonal() - 1
    across = gram - torch.diag(gram.diagonal())
    epsilon = max(float(lengths.abs().max()), float(across.abs().max()))
    top = math.sqrt(float(torch.linalg.eigvalsh(gram)[-1]))
    return epsilon, top, float(torch.linalg.vector_norm(lengths))


@PAPER.statement(
    "orthonormal",
    title="Approximate orthonormality",
    section="(ε, B)-orthonormality",
    sentence="If the data are (ε, B)-orthonormal with ε n^{1/4} → 0, so are the features of every layer.",
    latex=(
        r"\big|\|x_\alpha\|^2-1\big|\le\varepsilon,\quad|x_\alpha^\top x_\beta|\le\varepsilon,\quad\|X\|\le B,"
        r"\quad\textstyle\sum_\alpha(\|x_\alpha\|^2-1)^2\le B^2"
    ),
    level2="ε, ‖X_l‖ and √Σ(‖x‖² − 1)² of the data and of every hidden layer, against n^{-1/4} and 1",
)
def orthonormal(i: Instance, out: Findings) -> None:
    found = setting(i, out)
    rows = []
    for l, gram in enumerate(found.grams):
        epsilon, top, lengths = deviations(gram)
        rows.append([l, epsilon, top, lengths])
        if l == 0:
            continue
        length = i.n[l] + 4
        out.conclusion(f"ε of X_{l}", rounded(epsilon, length, 1.0), "O", i.N**-0.25, "n^{-1/4}",
                       key="epsilon", l=l)  # fmt: skip
        out.conclusion(f"‖X_{l}‖", rounded(top, length * i.N), "O", 1.0, "1", key="norm", l=l)
        out.conclusion(f"√Σ(‖x‖² − 1)² of X_{l}", rounded(lengths, length, math.sqrt(i.N)), "O", 1.0,
                       "1", key="lengths", l=l)  # fmt: skip
    out.table("Orthonormality, layer by layer", ("l", "ε", "‖X_l‖", "√Σ(‖x‖² − 1)²"), rows)
