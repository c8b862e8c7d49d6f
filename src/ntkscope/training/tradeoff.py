"""Curvature over width and over σ_0², beside λ_min: Banerjee et al. 2023, §5.

Prop. 5.1: in a spectral ball around θ_0, max_i ‖∇²f(θ; x_i)‖₂ ≤ c_H/√m. A small σ_0² lowers c_H and,
by the text, may lower λ_min(K) as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ntkscope._base.inputs import as_data, as_seed
from ntkscope.data import Sphere
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.training.curvature import hessian_norms


def in_spectral_ball(model: MLP, rho: int | float, rho1: int | float, seed: int) -> MLP:
    """A point on the boundary of Banerjee's spectral ball (Definition 5.1).

    Every hidden W_l moves by a Gaussian matrix of spectral norm ``rho``, the last layer by a vector
    of norm ``rho1``; biases stay. Raises ValueError for a negative radius.
    """
    if rho < 0 or rho1 < 0:
        raise ValueError(f"the radii must be at least 0, got ρ = {rho} and ρ₁ = {rho1}")
    generator = as_seed(seed, "spectral ball")
    weights = []
    for index, weight in enumerate(model.weights):
        radius = rho1 if index == model.network.depth - 1 else rho
        noise = torch.randn(*weight.shape, generator=generator, dtype=torch.float64).to(weight)
        weights.append(weight.detach() + radius * noise / torch.linalg.matrix_norm(noise, 2))
    return MLP(model.network, weights, [b.detach().clone() for b in model.biases])


@dataclass(frozen=True)
class CurvatureScaling(Drawn, Result):
    """max_i ‖∇²f‖₂ over widths: ``maxima`` has one row a width, one column a network.

    exponent: of the mean over m, with the standard error of the fit; constant: the largest
    max_i ‖∇²f‖₂·√m seen, which c_H of Prop. 5.1 must exceed.
    """

    widths: tuple[int, ...]
    maxima: tuple[tuple[float, ...], ...]
    exponent: float
    exponent_error: float
    constant: float
    rho: float
    rho1: float
    converged: bool

    def _chart(self) -> Chart:
        """The mean over the networks of each width, and its standard deviation."""
        name = "max_i ‖∇²f‖₂"
        means = [float(np.mean(row)) for row in self.maxima]
        spread = [float(np.std(row, ddof=1)) if len(row) > 1 else 0.0 for row in self.maxima]
        return charts.curves("m", name, self.widths, {name: means}, errors={name: spread})

    def __str__(self) -> str:
        return (
            f"max_i ‖∇²f‖₂ ∝ m^({self.exponent:.3f} ± {self.exponent_error:.3f}), "
            f"c_H ≥ {self.constant:.4g} (ρ = {self.rho:g}, ρ₁ = {self.rho1:g})"
        )


def curvature_scaling(
    net: Network,
    X: Any,
    widths: Sequence[int],
    *,
    rho: int | float = 0.0,
    rho1: int | float = 0.0,
    networks: int = 3,
    seed: int = 0,
) -> CurvatureScaling:
    """The Hessian's norm over common hidden widths m, and the exponent that fits (expected −½).

    At θ_0, or at one point of the spectral ball's boundary a network where ``rho`` or ``rho1`` is given.

    Raises ValueError for fewer than three widths.
    """
    if len(set(widths)) < 3:
        raise ValueError(f"an exponent needs at least three widths, got {list(widths)}")
    data = as_data(X, "X", torch.float64)
    maxima, converged = [], True
    for m in widths:
        at = net.with_widths([net.dim, *[m] * (net.depth - 1), 1])
        row = []
        for k in range(networks):
            model = at.sample(seed + k)
            if rho or rho1:
                model = in_spectral_ball(model, rho, rho1, seed + k)
            norms = hessian_norms(model, data)
            converged = converged and norms.converged
            row.append(norms.maximum)
        maxima.append(tuple(row))
    x = np.log(widths)
    y = np.log([np.mean(row) for row in maxima])
    slope, intercept = np.polyfit(x, y, 1)
    left = float(np.sum((y - intercept - slope * x) ** 2)) / max(1, len(x) - 2)
    return CurvatureScaling(
        tuple(widths), tuple(maxima), float(slope),
        math.sqrt(left / float(np.sum((x - x.mean()) ** 2))),
        max(max(row) * math.sqrt(m) for m, row in zip(widths, maxima, strict=True)),
        float(rho), float(rho1), converged,
    )  # fmt: skip


def measure(
    seed: int,
    *,
    sigma0_sq: int | float,
    layers: int,
    m: int,
    N: int,
    d: int,
    activation: str = "tanh",
    samples: int = 20,
) -> dict[str, float]:
    """λ_min(K), max_i ‖∇²f(θ_0; x_i)‖₂ (over ``samples`` of the N) and ν_0 of one network at σ_0².

    layers: Banerjee's L, the hidden layers. The data lie on the sphere of radius √d (Assumption 2),
    v is the unit vector of Prop. 5.1.
    """
    net = Network(
        [d, *[m] * layers, 1], activation, f"banerjee2023:sigma0_sq={float(sigma0_sq)!r}", "ntk"
    )
    X = Sphere(d).sample(N, seed)
    model = net.sample(seed)
    least = smallest_eigenvalue(empirical_ntk(model, X))
    norms = hessian_norms(model, X[:samples])
    return {
        "lambda_min": least.value,
        "lambda_min_error": least.error,
        "hessian": norms.maximum,
        "hessian_error": norms.error,
        "nu0": net.betas[0],
    }
