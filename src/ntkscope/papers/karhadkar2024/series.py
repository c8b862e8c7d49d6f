"""Murray, Jin, Bowman and Montúfar 2023: the limiting kernel as a power series, and a floor from it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.limiting.power_series import PowerSeries, power_series
from ntkscope.networks.network import Network
from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.geometry import Geometry, geometry
from ntkscope.spectra.streamed import streamed_bound
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.hypothesis import Hypothesis
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U

DEGREE = 100
FLOOR_DEGREE = 200
_SHOWN = 8


def no_skip(net: Network) -> Hypothesis:
    """The kernel of a residual network depends on more than norms and correlations."""
    note = f"got residual {net.residual:g}" if net.residual else ""
    return Hypothesis("no residual connections", not net.residual, note=note)


@PAPER.statement(
    "power-series",
    title="Power series of the limiting kernel",
    section="with Murray et al. 2023",
    sentence="On inputs of one norm the limiting NTK is Σ_p κ_p ρ^p with κ_p ≥ 0, for any activation and depth.",
    latex=r"K^\infty(x,y)=\sum_{p\ge0}\kappa_p\rho^p,\qquad\kappa_p\ge0,\quad\rho=\langle x,y\rangle/\|x\|^2",
    needs=(no_skip,),
    level2=f"the series to degree {DEGREE}, its remainder enclosed, against the recursion on every pair",
)
def series(i: Instance, out: Findings) -> None:
    found, net, rows = _one_norm(i, out)
    made = _series(i, found)
    K, relative = _limit(net, rows)
    rho = (found.unit @ found.unit.T).clamp(-1.0, 1.0).fill_diagonal_(1.0)
    low, high = made(rho.numpy())
    outside = np.maximum(np.maximum(low - K.numpy(), K.numpy() - high), 0.0)
    top = made.total[1]
    # ρ is wrong by (2d + 8) u, and the slope of Σ κ_p ρ^p is at most that of the kernel's own entries
    slope = float(np.arange(made.degree + 1) @ made.upper) + (made.degree + 1) * made.rest[1]
    bar = relative * top + (2 * i.d + 8) * U * slope
    out.conclude_at_most("max of K^∞ outside of Σ κ_p ρ^p", float(outside.max()), Quantity(0.0, bar),
                         scale=top, key="enclosed")  # fmt: skip
    width = float((high - low).max())
    out.note(f"The enclosure is at most {width / top:.2g} of the diagonal wide; above degree {made.degree} "
             f"lie {100 * made.rest[1] / top:.3g} % of it.")  # fmt: skip
    share = 50.0 * (made.lower + made.upper) / top
    out.table("Share of the diagonal, in percent", ("p", "κ_p", "κ_0 … κ_p"),
              [[p, share[p], share[: p + 1].sum()] for p in range(_SHOWN + 1)])  # fmt: skip


@PAPER.statement(
    "floor",
    title="Floor without an eigensolve",
    section="Weyl and Gershgorin on the series",
    sentence="λ_min of the limiting kernel is at least Σ_k κ_k max(0, 1 − max_i Σ_(j≠i) |ρ_ij|^k).",
    latex=r"\lambda_{\min}(K^\infty)\ge\sum_k\kappa_k\max\big(0,1-\max_i\textstyle\sum_{j\ne i}|\rho_{ij}|^k\big)",
    needs=(no_skip,),
    level2="the floor, rounding enclosed, against λ_min of the recursion's matrix; the ceiling of a 2 × 2 block",
)
def floor(i: Instance, out: Findings) -> None:
    _, net, rows = _one_norm(i, out)
    K, relative = _limit(net, rows)
    found = power_eigenvalue(K, 1, 0)
    value = Quantity(found.value, found.error + relative * float(K.diagonal().sum()))
    try:
        bound = streamed_bound(net, rows, degree=FLOOR_DEGREE)
    except ValueError as reason:
        raise NotComputable(str(reason)) from None
    out.conclude_at_least("λ_min of the limit ≥ Σ_k κ_k (1 − max_i Σ_j |ρ_ij|^k)₊", value, bound.lower,
                          key="floor")  # fmt: skip
    out.at_most("λ_min of the limit ≤ λ_min of a pair's 2 × 2 block", value, bound.upper,
                tautology=True, key="ceiling")  # fmt: skip
    rows_of = [[p.power, p.row_sum, p.floor] for p in bound.powers]
    out.table(
        "Powers of the correlations", ("k", "max_i Σ_j |ρ_ij|^k", "floor of λ_min(G^k)"), rows_of
    )
    if bound.lower > 0:
        out.note(f"The floor keeps {100 * bound.lower / value.value:.3g} % of λ_min.")


def _one_norm(i: Instance, out: Findings) -> tuple[Geometry, Network, Tensor]:
    """The geometry, the network as its limit takes it, and the rows of the series."""
    found = geometry(i)
    net, scaled = i.network, i.network.activation.homogeneity == 1 and i.network.bias_std is None
    if net.residual:
        raise NotComputable("the kernel of a residual network is no function of ρ")
    note = "" if found.one_norm else "the rows are scaled to one norm, which this φ allows"
    met = found.one_norm or scaled
    out.hypothesis(
        "the rows have one norm", met, note=note if met else "norms differ; --scale makes them one"
    )
    if not met:
        raise NotComputable("the kernel is no function of ρ alone")
    size = math.sqrt(i.d) if scaled else float(found.norms.mean())
    return found, net, found.unit * size


def _series(i: Instance, found: Geometry) -> PowerSeries:
    scaled = i.network.activation.homogeneity == 1 and i.network.bias_std is None
    norm = math.sqrt(i.d) if scaled else float(found.norms.mean())
    try:
        return power_series(i.network, DEGREE, norm)
    except ValueError as reason:
        raise NotComputable(str(reason)) from None


def _limit(net: Network, rows: Tensor) -> tuple[Tensor, float]:
    """(the limiting kernel, γ with |error of an entry| ≤ γ √(K_ii K_jj))."""
    try:
        made = limiting_kernel(net, rows)
    except ValueError as reason:
        raise NotComputable(f"there is no limiting kernel ({reason})") from None
    return made.dense().to(torch.float64), made.entry_error()
