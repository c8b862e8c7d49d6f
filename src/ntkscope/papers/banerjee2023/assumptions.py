"""Banerjee et al. 2023, Assumptions 1 and 2, Remark 3.1."""

from __future__ import annotations

import math

from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.hypotheses import (
    Setting,
    smooth_activation,
)
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U


def require(i: Instance, out: Findings) -> None:
    """Assumption 2 and the width; Assumption 1 and the initialization belong to the network."""
    norms = i.norms_sq(i.X)
    spread = float((norms / i.d - 1).abs().max())
    out.hypothesis("Assumption 2: ‖x_i‖² = d (largest relative deviation)", spread <= 1e-9, spread,
                   0.0, "" if spread <= 1e-9 else "scale the rows to norm √d")  # fmt: skip
    if i.N > 1:
        width = i.N * math.log(i.N) * math.log((i.L - 1) * i.N / i.delta)
        for l in range(1, i.L):
            out.order_of(f"m_{l} = Ω(n log n log(Ln/δ))", i.n[l], width, at_least=True)


@PAPER.statement(
    "assumption-1",
    title="Activation",
    section="Assumption 1",
    sentence="φ is 1-Lipschitz and β_φ-smooth.",
    latex=r"|\phi'|\le1,\qquad|\phi''|\le\beta_\phi",
    needs=(smooth_activation,),
    level2="|φ′| ≤ M and |φ″| ≤ M′ at every pre-activation of the instance",
)
def assumption_1(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    for what, function, bound in (
        ("φ′", phi.derivative, i.slope),
        ("φ″", phi.second, i.slope_of_derivative),
    ):
        if bound is None:
            out.note(f"{what} has no finite bound: nothing to compare with.")
            continue
        top = max(float(function(i.G(l)).abs().max()) for l in range(1, i.L))
        out.at_most(f"max |{what}| ≤ {bound:.6g}", Quantity(top, 16 * U * (top + 1)), bound,
                    key="bounded", of=what)  # fmt: skip


@PAPER.statement(
    "assumption-2",
    title="Data scaling",
    section="Assumption 2",
    sentence="Every sample has squared norm d.",
    latex=r"\|x_i\|_2^2=d",
    needs=(),
)
def assumption_2(i: Instance, out: Findings) -> None:
    require(i, out)
    out.extremes("‖x_i‖²", i.norms_sq(i.X), "Θ", i.d, "d")


@PAPER.statement(
    "remark-3.1",
    title="Other Lipschitz constants",
    section="Remark 3.1",
    sentence="The analysis holds for ς-Lipschitz φ; the conclusions stay for ς ≤ 1 + o(1) or poly(L).",
    latex=r"|\phi'|\le\varsigma_\phi",
    needs=(),
    level2="c_(φ,a) ≤ ς²a for φ(0) = 0, so ν_0 ≥ 1/ς",
)
def remark_3_1(i: Instance, out: Findings) -> None:
    phi, s = i.network.activation, Setting(i.network)
    slope = i.slope
    if slope is None:
        raise NotComputable(f"sup |φ′| of {phi} is not known or infinite")
    out.scaling("ς = sup |φ′|", slope, "O", 1.0, "1", key="slope")
    if phi.at_zero == 0.0:
        bar = 1e-11 * s.sigma_sq * slope**2
        out.at_most("c_(φ,σ0) ≤ ς²σ_0²", Quantity(s.c, bar), slope**2 * s.sigma_sq,
                    key="second-moment")  # fmt: skip
        out.at_least("ν_0 ≥ 1/ς", Quantity(math.sqrt(s.nu_sq), 1e-11), 1 / slope, key="nu")
    else:
        out.note(f"φ(0) = {phi.at_zero:g}, so c ≤ ς²σ_0² does not follow.")
