"""What the page cannot know by itself: Hermite series, power series of the kernel, words of theorems.

The page's rows have norm √d and its networks the "ntk" parameterization, so that the variance of a layer
depends on the activation, the initialization and the layer alone: d enters the kernel by the
correlations only, and a table for each layer serves every page's setting.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.activation import Activation
from ntkscope.activations.registry import activation
from ntkscope.kernels.limiting.power_series import PowerSeries, series_layers
from ntkscope.kernels.limiting.recursion import Layer, Scales, assemble, scales_of
from ntkscope.kernels.limiting.zonal import powers
from ntkscope.networks.network import Network
from ntkscope.spectra.streamed import exponents
from ntkscope.statements.registry import find, paper_of

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu:alpha=0.1": "leaky ReLU (0.1)",
    "abs": "|z|",
    "tanh": "tanh",
    "gelu": "GELU",
    "erf": "erf",
    "sigmoid": "sigmoid",
    "silu": "SiLU",
    "softplus": "softplus",
    "sin": "sin",
    "identity": "linear",
}
INITIALIZATIONS = ("he", "lecun")
HIDDEN = 6  # layers at most
DEGREE = 64  # of the power series of the kernel
STATEMENTS = (
    "karhadkar2024.floor", "karhadkar2024.pair",
    "karhadkar2024.linear-rate", "karhadkar2024.angle", "karhadkar2024.shallow",
    "karhadkar2024.deep", "nguyen2021.theorem-3.2", "nguyen2021.theorem-4.1", "nguyen2021.eq-27",
    "banerjee2023.theorem-4.1",
)  # fmt: skip
_U = 2.0**-53


def tables() -> dict[str, Any]:
    """Everything that the page is given, as plain values."""
    return {
        "hidden": HIDDEN,
        "exponents": exponents(DEGREE),
        "activations": {name: _activation(name, label) for name, label in ACTIVATIONS.items()},
        "statements": {id: _statement(id) for id in STATEMENTS},
    }


def _activation(name: str, label: str) -> dict[str, Any]:
    phi = activation(name)
    parts = phi.homogeneous_parts
    made: dict[str, Any] = {"label": label, "parity": _parity(phi)}
    # a homogeneous kernel only scales with β
    inits = INITIALIZATIONS if parts is None else INITIALIZATIONS[:1]
    made["floors"] = {init: _floors(_network(name, init)) for init in inits}
    if parts is not None:
        return made | {"parts": list(parts)}
    return made | {"series": {init: list(_series(_network(name, init))) for init in inits}}


def _network(name: str, init: str) -> Network:
    return Network([1, *[math.inf] * HIDDEN, 1], name, init, "ntk")


def _parity(phi: Activation) -> int:
    """−1 for odd functions, 1 for even ones, 0 for the others."""
    z = np.linspace(0.1, 4.0, 40)
    plus, minus = phi(z), phi(-z)
    return 1 if np.array_equal(plus, minus) else -1 if np.array_equal(plus, -minus) else 0


def _series(net: Network) -> Iterator[dict[str, Any]]:
    """For each hidden layer its variance a and α_0², α_1², … with E[φφ] = Σ_r α_r² ρ^r."""
    scales = scales_of(net, 1)
    features = scales.input * net.dim
    for beta_sq in scales.betas_sq[:-1]:
        variance = beta_sq * features
        squares = powers(net.activation, (variance,))[0][0]
        features = float(squares.sum())
        yield {"variance": variance, "squares": _shortened(squares)}


def _shortened(squares: Array) -> list[float]:
    """As many terms, and of each as many digits, as E[φ′φ′] and its slope at ρ = 1 have in float64.

    Term r enters 1 − E[φ′φ′] with r² at most, so that it needs r² fewer digits than the sum has.
    """
    weight = np.arange(1.0, len(squares) + 1) ** 2
    weighted = squares * weight
    left = np.cumsum(weighted[::-1])[::-1]
    last = int(np.flatnonzero(left > 0.25 * _U * left[0])[-1])
    coarse = 2.0 * _U / 100.0 * left[0] / weight
    return [_rounded(float(s), float(c)) for s, c in zip(squares[: last + 1], coarse, strict=False)]


def _rounded(value: float, unit: float) -> float:
    """``value`` to within ``unit``, in few digits."""
    if value <= unit:
        return 0.0
    digits = min(16, max(0, math.ceil(math.log10(value / unit))))
    return float(f"{value:.{digits}e}")


def _floors(net: Network) -> list[list[float]]:
    """For L = 2, 3, … the least sums of κ_k over each group of powers, and of all above ``DEGREE``.

    Rounded down, so that a floor from them stays one. K = Σ_k κ_k ρ^k. The list ends where the
    correlations of a layer are so near 1 that the series is refused (the sigmoid's fourth layer).
    """
    scales = scales_of(net, 1)
    layers: list[Layer] = []
    with contextlib.suppress(ValueError):
        layers.extend(series_layers(scales, net.activation, float(net.dim), DEGREE))
    return [_grouped(_kernel(scales, layers[:depth])) for depth in range(2, len(layers) + 1)]


def _kernel(scales: Scales, layers: list[Layer]) -> PowerSeries:
    ends = assemble(scales, layers, ("ntk",))["ntk"][0].ends
    return PowerSeries(ends[0, :-1], ends[1, :-1], (ends[0, -1], ends[1, -1]), 1.0, False)


def _grouped(series: PowerSeries) -> list[float]:
    sums = np.add.reduceat(series.lower, exponents(DEGREE))
    return [_down(float(v)) for v in (*sums, series.rest[0])]


def _down(value: float) -> float:
    """To seven digits, at most ``value``."""
    return float(f"{value * (1 - 1e-6):.6e}")


def _statement(id: str) -> dict[str, str]:
    one = find(id)
    paper = paper_of(one)
    return {
        "title": one.title, "source": one.source, "paper": paper.citation or paper.title,
        "sentence": one.sentence,
    }  # fmt: skip
