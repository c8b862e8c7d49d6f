"""Banerjee et al. 2023, §5: the trade-off over σ_0²."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ntkscope.networks.network import replace_network
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import scaled_data
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import layers
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity

SIGMAS_SQ = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 10.0, 20.0)
DEPTHS, DEPTH_SIGMAS_SQ = (1, 2, 3, 4), (1 / 16, 1.0, 20.0)
_ROWS = 200  # samples of the trade-off, whose kernel is formed once for each σ_0²
_DEPTH_ROWS = 60  # samples of the fit over depth
_DEPTH_DRAWS = 2  # networks at each depth of the fit
_PRINTED_R = 3  # the r of the printed constant in the fit over depth


@PAPER.statement(
    "tradeoff",
    title="The trade-off over σ_0²",
    section="§5",
    sentence="A small σ_0² helps the Hessian bound, a large one the eigenvalue's constant c_0.",
    latex=r"\sigma_0^2\le\tfrac14\Rightarrow c_H=O(\mathrm{poly}(L)),\qquad c_0=\max_{r>1}c_0^{(L-1,r)}(\sigma_0^2)",
    needs=PAPER.needs[:4],
    level2="ν_0 ≥ 1/M at every σ_0² when φ(0) = 0, so γ = ρ/√m + 4ν_0 ≥ 4/M; λ_min(K)/λ_1 fitted over L = 1 … 4",
)
def tradeoff(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    rows = [tradeoff_row(i, sigma_sq) for sigma_sq in SIGMAS_SQ]
    drawn = ("σ_0²", "1 + γ^{2L}", "printed c_0", "corrected c_0", "λ_1", "measured λ_min(K)")
    out.table("Trade-off over σ_0²", COLUMNS, rows, plot=drawn)
    phi = i.network.activation
    slope = i.slope if phi.at_zero == 0.0 else None
    for row in rows:
        if slope is None:
            break
        at = f"at σ_0² = {row.sigma_sq:g}"
        out.at_least(f"ν_0 ≥ 1/M {at}", Quantity(row.nu, 1e-9 * row.nu), 1 / slope, key="nu",
                     sigma_sq=row.sigma_sq)  # fmt: skip
        if row.sigma_sq <= 0.25:
            out.conclude_at_most(f"γ ≤ 1 {at} ≤ 1/4, which the poly(L) bound needs",
                                 Quantity(row.gamma, 1e-9 * row.gamma), 1.0, erratum=True,
                                 key="hessian", sigma_sq=row.sigma_sq)  # fmt: skip
    out.table("Change per hidden layer, fitted over L = 1 … 4", (
        "σ_0²", "log λ_min(K)/λ_1", "± standard error", f"log printed c_0 (r = {_PRINTED_R})",
        "log corrected c_0",
    ), [depth_fit(i, sigma_sq) for sigma_sq in DEPTH_SIGMAS_SQ])  # fmt: skip
    out.note("σ_1 of §5 is not defined there; γ is taken at ρ = 0, its least value.")
    out.note("Both constants are exponential in L by their form; the kernel's own rate is fitted.")
    out.note(f"On the first {min(i.N, _ROWS)} samples, ntk parameterization, seed {i.seed}.")


class Row(NamedTuple):
    """One σ_0² of the trade-off."""

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


COLUMNS = (
    "σ_0²", "c_(φ,σ0)", "ν_0", "γ = 4ν_0", "1 + γ^{2L}", "printed c_0", "corrected c_0", "λ_1",
    "measured λ_min(K)", "Lemma 4.1's event",
)  # fmt: skip


def at_variance(
    i: Instance, sigma_sq: float, rows: int = _ROWS, hidden: int | None = None, seed: int = 0
) -> Instance:
    """The instance's network at another σ_0², on its first samples; with other depth where asked."""
    init = f"banerjee2023:sigma0_sq={sigma_sq!r}"
    net = replace_network(i.network, init=init, parameterization="ntk")
    if hidden is not None:
        net = net.with_widths([net.dim, *[i.n[1]] * hidden, 1])
    return Instance(net, i.X[:rows], seed=i.seed + seed)


def tradeoff_row(i: Instance, sigma_sq: float) -> Row:
    """One row of the table."""
    at = at_variance(i, sigma_sq)
    k, s = layers(at), Setting(at.network)
    nu = math.sqrt(s.nu_sq)
    hidden = at.L - 1
    event = all(k.event(l) is True for l in range(1, at.L))
    return Row(
        sigma_sq, s.c, nu, 4 * nu, 1 + (4 * nu) ** (2 * hidden),
        k.supremum(hidden - 1).value.value, k.best(hidden - 1)[1].value / 4,
        k.smallest(1).value, at.lambda_K.value, event,
    )  # fmt: skip


def depth_fit(i: Instance, sigma_sq: float) -> tuple[float, float, float, float, float]:
    """(σ_0², slope over L of log λ_min(K)/λ_1, its standard error, slopes of log c_0 printed, corrected)."""
    depths, ratios, printed, corrected = [], [], [], []
    for hidden in DEPTHS:
        for draw in range(_DEPTH_DRAWS):
            at = at_variance(i, sigma_sq, _DEPTH_ROWS, hidden, draw)
            k = layers(at)
            depths.append(hidden)
            ratios.append(_log(at.lambda_K.value) - _log(k.smallest(1).value))
            printed.append(_log(k.printed(hidden - 1, _PRINTED_R).value))
            corrected.append(_log(k.best(hidden - 1)[1].value))
    slope, error = _slope(depths, ratios)
    return sigma_sq, slope, error, _slope(depths, printed)[0], _slope(depths, corrected)[0]


def _log(x: float) -> float:
    return math.log(x) if x > 0 else math.nan


def _slope(x: Sequence[int | float], y: Sequence[int | float]) -> tuple[float, float]:
    """(slope, standard error) of a straight line; nan where a value is none."""
    from scipy.stats import linregress

    found = linregress(x, y)
    return float(found.slope), float(found.stderr)
