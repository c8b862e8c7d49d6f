"""Banerjee et al. 2023, §5: the trade-off over σ_0²."""

from __future__ import annotations

import math
from typing import NamedTuple

from ntkscope.networks.network import replace_network
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import require
from ntkscope.papers.banerjee2023.hypotheses import (
    Setting,
)
from ntkscope.papers.banerjee2023.layers import (
    layers,
)
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity

SIGMAS_SQ = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 10.0, 20.0)


_ROWS = 200  # samples of the trade-off, whose kernel is formed once for each σ_0²


@PAPER.statement(
    "tradeoff",
    title="The trade-off over σ_0²",
    section="§5",
    sentence="A small σ_0² helps the Hessian bound, a large one the eigenvalue's constant c_0.",
    latex=r"\sigma_0^2\le\tfrac14\Rightarrow c_H=O(\mathrm{poly}(L)),\qquad c_0=\max_{r>1}c_0^{(L-1,r)}(\sigma_0^2)",
    needs=PAPER.needs[:4],
    level2="ν_0 ≥ 1/M at every σ_0² when φ(0) = 0, so γ = ρ/√m + 4ν_0 ≥ 4/M; corrected c_0 on the event",
)
def tradeoff(i: Instance, out: Findings) -> None:
    require(i, out)
    rows = [tradeoff_row(i, sigma_sq) for sigma_sq in SIGMAS_SQ]
    drawn = ("σ_0²", "1 + γ^{2L}", "printed c_0", "corrected c_0", "λ_1", "measured λ_min(K)")
    shown = [row[: len(COLUMNS)] for row in rows]
    out.table("Trade-off over σ_0²", COLUMNS, shown, plot=drawn)
    phi = i.network.activation
    slope = i.slope if phi.at_zero == 0.0 else None
    for row in rows:
        at = f"at σ_0² = {row.sigma_sq:g}"
        if slope is not None:
            out.at_least(f"ν_0 ≥ 1/M {at}", Quantity(row.nu, 1e-9 * row.nu), 1 / slope, key="nu",
                         sigma_sq=row.sigma_sq)  # fmt: skip
        if slope is not None and row.sigma_sq <= 0.25:
            out.at_most(f"γ ≤ 1 {at} ≤ 1/4, which the poly(L) bound needs",
                        Quantity(row.gamma, 1e-9 * row.gamma), 1.0, erratum=True, key="hessian",
                        sigma_sq=row.sigma_sq)  # fmt: skip
        measured = Quantity(row.lambda_K, row.error_K)
        bound = Quantity(row.printed * row.lambda_1, row.error_printed)
        out.at_least(f"λ_min(K) ≥ c_0 λ_1 as printed {at}", measured, bound, erratum=True,
                     key="printed", sigma_sq=row.sigma_sq)  # fmt: skip
        if row.event:
            corrected = Quantity(row.corrected * row.lambda_1, row.error_bound)
            out.at_least(f"λ_min(K) ≥ corrected c_0 λ_1 {at}", measured, corrected, key="corrected",
                         sigma_sq=row.sigma_sq)  # fmt: skip
    out.note("σ_1 of §5 is not defined there; γ is taken at ρ = 0, its least value.")
    out.note(f"On the first {min(i.N, _ROWS)} samples, ntk parameterization, seed {i.seed}.")


class Row(NamedTuple):
    """One σ_0² of the trade-off: what the table shows, then the errors of its bounds."""

    sigma_sq: float
    c: float
    nu: float
    gamma: float
    hessian: float
    printed: float
    corrected: float
    lambda_1: float
    lambda_K: float
    event: bool
    error_K: float
    error_printed: float
    error_bound: float


COLUMNS = (
    "σ_0²", "c_(φ,σ0)", "ν_0", "γ = 4ν_0", "1 + γ^{2L}", "printed c_0", "corrected c_0", "λ_1",
    "measured λ_min(K)", "Lemma 4.1's event",
)  # fmt: skip


def at_variance(i: Instance, sigma_sq: float) -> Instance:
    """The instance's network at another σ_0², on its first samples."""
    init = f"banerjee2023:sigma0_sq={sigma_sq!r}"
    net = replace_network(i.network, init=init, parameterization="ntk")
    return Instance(net, i.X[:_ROWS], seed=i.seed)


def tradeoff_row(i: Instance, sigma_sq: float) -> Row:
    """One row of the table."""
    at = at_variance(i, sigma_sq)
    k, s = layers(at), Setting(at.network)
    nu = math.sqrt(s.nu_sq)
    hidden = at.L - 1
    _, printed = k.best(hidden - 1, printed=True)
    corrected = k.best(hidden - 1, printed=False)[1] * 0.25
    return Row(
        sigma_sq, s.c, nu, 4 * nu, 1 + (4 * nu) ** (2 * hidden), printed.value, corrected.value,
        k.smallest(1).value, at.lambda_K.value, all(k.event(l) for l in range(1, at.L)),
        at.lambda_K.error, (printed * k.smallest(1)).error, (corrected * k.smallest(1)).error,
    )  # fmt: skip
