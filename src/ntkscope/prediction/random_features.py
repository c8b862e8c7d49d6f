"""The parts of an empirical NTK: which random neurons each passes through, and what it tends to.

K = Σ_k (F_{k−1} F_{k−1}ᵀ) ∘ (B_k B_kᵀ). The features of a layer are a constant in x, what is linear
in the layer's centred input, and the rest; the signals through it, W b ∘ φ′, split in the same way.
The neurons of a layer are n draws of a Gaussian process whose covariance is made of the linear and
the other part; the linear part's own covariance is the Gram matrix of the layer below, which is
random again. So a part is a zonal function and a chain of layers of neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.kernels.limiting.zonal import zonal_layers
from ntkscope.networks.network import Network
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.row_sizes import at_layer, neuron

_APART = 1e-12  # of two correlations, for a slope between them
_ROUNDING = 1e-12  # of the kernel's diagonal: parts that small are differences that vanish


@dataclass(frozen=True)
class Stage:
    """``count`` random neurons through which a part passes; parts with the same key share them.

    weighted: whether each neuron's share is multiplied by the square of a Gaussian weight.
    """

    key: str
    count: float
    weighted: bool = False


@dataclass(frozen=True)
class Part:
    """One part of a layer's Gram matrix.

    values: on the quadrature nodes, θ = 0 last. stages: the layers of neurons it passed, the last
    one first. rank: of the part before the first of them. spread: variance of the logarithm of the
    squared norm from row to row, by the layer whose neurons it comes from.
    """

    values: Array
    stages: tuple[Stage, ...] = ()
    rank: float = math.inf
    spread: Array | float = 0.0

    def at(self, t: int) -> Stage:
        """The t-th stage, and after the last one what the part is before all of them."""
        return self.stages[t] if t < len(self.stages) else Stage(f"rank {self.rank}", self.rank)


def sum_values(parts: list[Part]) -> Array:
    """The limiting kernel: the sum of all parts."""
    return np.asarray(np.sum([part.values for part in parts], axis=0))


def parts_of(net: Network, n_samples: float, norm_sq: float) -> list[Part]:
    """The parts of the kernel on inputs of squared norm ``norm_sq``, those of equal stages added up.

    Their values lie on :func:`ntkscope.prediction.gegenbauer.nodes` of d and N.
    """
    features, signals = layer_parts(net, n_samples, norm_sq)
    made = [_product(f, b) for k in range(net.depth) for f in features[k] for b in signals[k]]
    least = _ROUNDING * sum(float(part.values[-1]) for part in made)
    return _merged([part for part in made if part.values[-1] > least])


def layer_parts(
    net: Network, n_samples: float, norm_sq: float
) -> tuple[list[list[Part]], list[list[Part]]]:
    """The parts of F_0, …, F_{L−1} and of B_1, …, B_L."""
    theta, weight = gegenbauer.law_of_angle(net.dim, n_samples)
    layers = list(zonal_layers(net, np.array([norm_sq]), theta))
    A = [layer.features[0] for layer in layers]
    slopes = [layer.slope[0] for layer in layers[1:] if layer.slope is not None]
    about: list[_About] = []
    uneven = np.zeros((net.depth - 1, 2, 2))
    for l in range(1, net.depth):
        about.append(_About(net, l, A[l - 1], A[l], slopes[l - 1], weight, uneven))
        uneven = about[-1].value.uneven(l, float(net.widths[l]), uneven)
    features = _features(net, A, about)
    return features, _signals(net, A, about, features)


class _About:
    """φ and φ′ of one layer about the inputs' mean correlation, which all samples share."""

    def __init__(
        self,
        net: Network,
        l: int,
        below: Array,
        above: Array,
        slope: Array,
        weight: Array,
        uneven: Array,
    ) -> None:
        self.uneven = uneven  # covariance of the pre-activations' variances, row to row, by layer
        self.rho = below / below[-1]
        self.variance = net.betas[l - 1] ** 2 * float(below[-1])
        self.shared = 0.0 if l == 1 else float(weight @ self.rho[:-1])
        q_s = max(self.shared, 0.0) * self.variance
        self.value = neuron(net.activation, self.variance - q_s, q_s, False)
        self.derivative = neuron(net.activation, self.variance - q_s, q_s, True)
        self.units = float(above[-1]) / _moment(net.activation, self.variance)
        self.mean = float(weight @ above[:-1])
        self.slope = slope
        self.mean_slope = float(weight @ slope[:-1])
        # an even φ gives θ and π − θ one correlation: of two that are equal to rounding one is enough
        order = np.argsort(self.rho[:-1])
        order = order[np.append(True, np.diff(self.rho[order]) > _APART)]
        self._rho, self._slope = self.rho[:-1][order], slope[:-1][order]

    @property
    def linear(self) -> float:
        """d(units E[φφ])/dρ at the shared correlation."""
        at = float(np.interp(self.shared, self._rho, self._slope))
        return self.units * self.variance * at

    @property
    def linear_slope(self) -> float:
        """dE[φ′φ′]/dρ there."""
        steep = np.gradient(self._slope, self._rho)
        return max(float(np.interp(self.shared, self._rho, steep)), 0.0)


def _features(net: Network, A: list[Array], about: list[_About]) -> list[list[Part]]:
    """F_0, …, F_{L−1}: a constant, and what one layer of neurons makes of linear and other parts."""
    flat = np.ones_like(A[0])
    out = [[Part(A[0], (), float(net.dim))]]
    for l in range(1, net.depth):
        n, at = float(net.widths[l]), about[l - 1]
        stage = Stage(f"F{l}", n)
        below = [p for p in out[-1] if l == 1 or p.stages]
        linear, total = _through(
            below, A[l - 1], at.linear, stage, at.value.linear.spread(l, n, at.uneven)
        )
        rest = A[l] - at.mean - total
        spread = at.value.rest.spread(l, n, at.uneven)
        out.append([Part(at.mean * flat, (), 1.0), *linear, Part(rest, (stage,), math.inf, spread)])
    return out


def _through(
    below: list[Part], A: Array, scale: float, stage: Stage, spread: Array
) -> tuple[list[Part], Array]:
    """The part linear in a layer's centred input: each part below, passed through one more stage."""
    parts, total = [], np.zeros_like(A)
    for p in below:
        values = scale * p.values / A[-1]
        parts.append(Part(values, (stage, *p.stages), p.rank, spread))
        total = total + values
    return parts, total


def _signals(
    net: Network, A: list[Array], about: list[_About], features: list[list[Part]]
) -> list[list[Part]]:
    """B_1, …, B_L: a constant part and those that vary with the input."""
    flat = np.ones_like(A[0])
    out = [[Part(flat, (), 1.0)]]
    for l in range(net.depth - 1, 0, -1):
        n, at = float(net.widths[l]), about[l - 1]
        size = net.betas[l] ** 2 * (n if net.parameterization == "standard" else 1.0)
        fixed = size * float(sum(p.values[-1] for p in out[0] if not p.stages))
        moving = [p for p in out[0] if p.stages]
        vary = at.slope - at.mean_slope
        drawn_once, drawn_each = Stage(f"B{l}", n, True), Stage(f"B{l}", n)
        below = [p for p in features[l - 1] if l == 1 or p.stages]
        phi = at.derivative
        linear, total = _through(
            below, A[l - 1], fixed * at.linear_slope, drawn_once,
            phi.linear.spread(l, n / 3.0, at.uneven),
        )  # fmt: skip
        parts = [
            Part(fixed * at.mean_slope * flat, (), 1.0),
            *linear,
            Part(fixed * vary - total, (drawn_once,), math.inf,
                  phi.rest.spread(l, n / 3.0, at.uneven)),
        ]  # fmt: skip
        if moving:
            kernel = sum_values(moving)
            share = np.array([p.values[-1] for p in moving]) / kernel[-1]
            under = share @ np.array([p.spread for p in moving])
            layers = net.depth - 1
            parts += [
                Part(size * at.mean_slope * p.values, (drawn_each, *p.stages), p.rank,
                      at_layer(l, -math.log1p(-2.0 / n), layers) + under)
                for p in moving
            ]  # fmt: skip
            parts.append(
                Part(
                    size * kernel * vary,
                    (drawn_each,),
                    math.inf,
                    at_layer(l, phi.varying.own(n, weighted=True), layers)
                    + under
                    + phi.varying.inherited(at.uneven),
                )
            )
        out.insert(0, parts)
    return out


def _product(f: Part, b: Part) -> Part:
    """The Hadamard product, whose features are pairs.

    The stages of both are taken off one by one, and each then acts on (neurons of this stage) ×
    (what the other side is made of at that point) features. The side that leaves fewer features
    goes first: the narrowest place decides.
    """
    i = j = 0
    stages = []
    while i < len(f.stages) or j < len(b.stages):
        own, other = f.at(i), b.at(j)
        count = own.count * other.count
        if math.isinf(count):
            break
        left = f.at(i + 1).count * other.count if i < len(f.stages) else math.inf
        right = own.count * b.at(j + 1).count if j < len(b.stages) else math.inf
        signal = j < len(b.stages) and (right <= left or i >= len(f.stages))
        stages.append(Stage(f"{own.key}·{other.key}", count, signal and other.weighted))
        i, j = (i, j + 1) if signal else (i + 1, j)
    return Part(f.values * b.values, tuple(stages), f.rank * b.rank, f.spread + b.spread)


def _merged(parts: list[Part]) -> list[Part]:
    """Parts that pass the same stages, added up."""
    found: dict[tuple[Stage, ...], list[Part]] = {}
    for part in parts:
        found.setdefault(part.stages, []).append(part)
    out = []
    for stages, same in found.items():
        values = sum_values(same)
        share = np.array([p.values[-1] for p in same])
        spread = sum(part * p.spread for part, p in zip(share, same, strict=True)) / values[-1]
        out.append(Part(values, stages, math.inf, spread))
    return out


def _moment(phi: Activation, variance: float) -> float:
    return float(hermite_coefficients(phi, 1, np.array([variance])).second_moment[0])
