"""Nguyen et al. 2021, Assumptions 2.1 and 2.2, as statements about the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, rounded, sample_mean
from ntkscope.statements.shared import assumptions


@PAPER.statement(
    "assumption-2.1",
    title="Data scaling",
    section="Assumption 2.1",
    sentence="E‖x‖ is of order √d, E‖x‖² of order d, and E‖x − Ex‖² at least of order d.",
    latex=r"\int\|x\|\,dP=\Theta(\sqrt d),\quad\int\|x\|^2dP=\Theta(d),\quad\int\|x-\mathbb Ex\|^2dP=\Omega(d)",
    needs=(),
    level2="(E‖x‖)² ≤ E‖x‖² and E‖x − Ex‖² = E‖x‖² − ‖Ex‖², of the sample",
)
def data_scaling(i: Instance, out: Findings) -> None:
    assumptions.scaling(i, out)
    points = i.X if i.distribution is None else i.reference
    norms = torch.linalg.vector_norm(points, dim=1)
    out.scaling("E‖x‖", sample_mean(norms), "Θ", math.sqrt(i.d), "√d", key="norm")
    out.scaling("E‖x‖²", sample_mean(norms.square()), "Θ", i.d, "d", key="norm-sq")
    centred = (points - points.mean(dim=0)).square().sum(dim=1)
    out.scaling("E‖x − Ex‖²", sample_mean(centred), "Ω", i.d, "d", key="centred-norm-sq")
    length = len(points) + i.d
    second = rounded(norms.square().mean(), length)
    out.at_most("(mean‖x‖)² ≤ mean‖x‖²", rounded(norms.mean() ** 2, length), second, key="jensen")
    mean_sq = rounded(points.mean(dim=0).square().sum(), length, second)
    out.equal("mean‖x − x̄‖² = mean‖x‖² − ‖x̄‖²", rounded(centred.mean(), length, second),
              second - mean_sq, key="variance")  # fmt: skip


@PAPER.statement(
    "assumption-2.2",
    title="Lipschitz concentration",
    section="Assumption 2.2",
    sentence="Every Lipschitz function of the data has a subgaussian tail at a rate free of the dimension.",
    latex=r"P\Big(\Big|f(x)-\int f\,dP\Big|>t\Big)\le2e^{-ct^2/\|f\|_{\mathrm{Lip}}^2}",
    needs=(),
    level2="Var h ≤ C_P for 1-Lipschitz h, with the Poincaré constant of the law (Gaussian, sphere, cube, circle, generated)",
)
def lipschitz_concentration(i: Instance, out: Findings) -> None:
    assumptions.concentration(i, out)
    points = i.X if i.distribution is None else i.reference
    constant = assumptions.poincare(i.distribution)
    for name, values in _test_functions(points).items():
        deviations = (values - values.mean()).square()
        variance = Quantity(
            float(values.var()) if len(values) > 1 else 0.0, 0.0, _spread(deviations)
        )
        out.scaling(f"Var h, h = {name}", variance, "O", 1.0, "1", key="variance", h=name)
        if constant is not None:
            out.at_most(f"Var h ≤ C_P, h = {name}", variance, rounded(constant, 64), key="poincare",
                        h=name)  # fmt: skip
        rate = _tail_rate(values)
        if rate is not None:
            out.scaling(f"c met in 2e^(−ct²), h = {name}", rate, "Ω", 1.0, "1", key="tail", h=name)
    out.note(
        "The uniform law on the binary cube is listed among the examples, but there only convex "
        "Lipschitz functions concentrate: the distance to {Σx_i ≤ 0} has a standard deviation that "
        "grows like d^(1/4)."
    )


def _spread(deviations: Tensor) -> float:
    n = len(deviations)
    return float(deviations.std()) / math.sqrt(n) if n > 1 else math.inf


def _test_functions(x: Tensor) -> dict[str, Tensor]:
    """1-Lipschitz functions of a row."""
    d = x.shape[1]
    total = x.sum(dim=1)
    distance = total.clamp_min(0.0) / math.sqrt(d)
    if bool((x.abs() == 1).all()):
        # on {−1, 1}^d the nearest point with Σ ≤ 0 lies in the cube: flip ⌈Σ/2⌉ coordinates
        distance = 2.0 * torch.sqrt(torch.ceil(total.clamp_min(0.0) / 2.0))
    return {
        "‖x‖": torch.linalg.vector_norm(x, dim=1),
        "Σx_i/√d": total / math.sqrt(d),
        "max x_i": x.max(dim=1).values,
        "dist(x, {Σx_i ≤ 0})": distance,
    }


def _tail_rate(values: Tensor) -> Quantity | None:
    """The largest c with P(|h − Eh| > t) ≤ 2e^{−ct²} at the sample's upper quantiles."""
    gaps = (values - values.mean()).abs()
    rates = []
    for level in (0.1, 0.03, 0.01):
        t = float(torch.quantile(gaps, 1 - level))
        if t > 1e3 * U * float(values.abs().max()):
            rates.append(math.log(2 / level) / t**2)
    return Quantity(min(rates)) if rates else None
