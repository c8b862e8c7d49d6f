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


def scaled_data(i: Instance, out: Findings) -> bool:
    """Assumption 2: ‖x_i‖² = d; returns whether it is met."""
    norms = i.norms_sq(i.X)
    spread = float((norms / i.d - 1).abs().max())
    met = spread <= 1e-9
    out.hypothesis("Assumption 2: ‖x_i‖² = d (largest relative deviation)", met, spread, 0.0,
                   "" if met else "scale the rows to norm √d")  # fmt: skip
    return met


def linear_width(i: Instance, out: Findings) -> None:
    """The width of Theorems 4.1 and 4.2: eq. 10's m ≥ n, and m = Ω(n log n log(Ln/δ))."""
    hidden = i.n[1 : i.L]
    out.hypothesis("m ≥ n (eq. 10)", min(hidden) >= i.N, min(hidden), i.N)
    if i.N > 1:
        width = i.N * math.log(i.N) * math.log((i.L - 1) * i.N / i.delta)
        out.order_of("m = Ω(n log n log(Ln/δ))", min(hidden), width, at_least=True)
    out.order_of("L = O(1)", i.L - 1, 1.0, at_least=False, note="their L: the hidden layers")


def norm_condition(i: Instance, out: Findings, s: Setting) -> bool:
    """Lemma 4.2's condition on the widths as printed, which Lemma 4.3 takes over; whether it is met."""
    need = s.norm_condition(i.L - 1)
    root = math.sqrt(min(i.n[1 : i.L]))
    out.hypothesis("max(8h_C²/c², 4h_C/c) ≤ √m (Lemma 4.2)", need <= root, need, root)
    return need <= root


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
    scaled_data(i, out)
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
    out.order_of("ς ≤ 1 + o(1), or poly(L)", slope, 1.0, at_least=False)
    if phi.at_zero == 0.0:
        bar = 1e-11 * s.sigma_sq * slope**2
        out.conclude_at_most("c_(φ,σ0) ≤ ς²σ_0²", Quantity(s.c, bar), slope**2 * s.sigma_sq,
                    key="second-moment")  # fmt: skip
        out.conclude_at_least("ν_0 ≥ 1/ς", Quantity(math.sqrt(s.nu_sq), 1e-11), 1 / slope, key="nu")
    else:
        out.note(f"φ(0) = {phi.at_zero:g}, so c ≤ ς²σ_0² does not follow.")
