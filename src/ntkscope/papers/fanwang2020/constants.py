"""b_l, a_l and the factors of the layers' terms, of a network with weights of any variance.

With v_l the variance of the pre-activations of layer l and m_l = E σ(√v_l z)², σ_l(z) = σ(√v_l z)/√m_l is
normalised as in the paper: b_l = E σ_l′(z), a_l = E σ_l′(z)². The term of W_k is v_{L}/β_k² times that of the
paper's network (unit weights, k = 1, …, L, v_L the output's variance), because a layer's weights and their
gradient scale inversely. At β = 1 and m = 1 every factor is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.activations.registry import activation
from ntkscope.networks.network import Network

CENTRED = 1e-10  # |E σ|/√E σ² that counts as 0
_CONSTANT = 1e-12  # Var σ/E σ² below which rounding is all there is


@dataclass(frozen=True)
class LayerConstants:
    """mean: E σ(√v z)/√m. b: E σ_l′. a: E σ_l′². variance, moment: v and m."""

    mean: float
    b: float
    a: float
    variance: float
    moment: float


@dataclass(frozen=True)
class Constants:
    """layers: of the L − 1 hidden layers. factors: (L,), of the terms of W_1, …, W_L."""

    layers: tuple[LayerConstants, ...]
    factors: tuple[float, ...]

    @property
    def q(self) -> tuple[float, ...]:
        """q_0, …, q_{L−1}: the coefficients of X_lᵀX_l; q_l = b^{2(L−1−l)} at unit weights."""
        return tuple(
            f * math.prod(layer.b**2 for layer in self.layers[l:])
            for l, f in enumerate(self.factors)
        )

    @property
    def shift(self) -> float:
        """r₊ = Σ_l (a^{L−1−l} − b^{2(L−1−l)})."""
        a = sum(
            f * math.prod(layer.a for layer in self.layers[l:]) for l, f in enumerate(self.factors)
        )
        return max(0.0, a - sum(self.q))


def constants_of(net: Network, *, centre: bool = False, norm_sq: float | None = None) -> Constants:
    """The constants of ``net`` on rows of squared norm ``norm_sq``, d unless given.

    ``centre`` takes σ − E σ for σ in every layer: another network, whose kernel is the paper's.
    """
    ntk = net.parameterization == "ntk"
    hidden = net.widths[1:-1]
    variance = (
        net.betas[0] ** 2 * (net.dim if norm_sq is None else norm_sq) / (net.dim if ntk else 1)
    )
    layers = []
    for beta, width in zip(net.betas[1:], hidden, strict=True):
        value = hermite_coefficients(net.activation, 1, np.array([variance]))
        slope = hermite_coefficients(net.activation, 0, np.array([variance]), derivative=True)
        mean, first = (float(x) for x in value.values[0])
        whole = float(value.second_moment[0])
        moment = whole - (mean**2 if centre else 0.0)
        if not moment > _CONSTANT * whole:
            raise ValueError(f"{net.activation} is constant at variance {variance:.4g}")
        layers.append(
            LayerConstants(
                0.0 if centre else mean / math.sqrt(moment),
                first / math.sqrt(moment),
                variance * float(slope.second_moment[0]) / moment,
                variance,
                moment,
            )
        )
        variance = beta**2 * moment * (1.0 if ntk else float(width))
    return Constants(tuple(layers), tuple(variance / beta**2 for beta in net.betas))


def normalised(phi: str | Activation) -> Activation:
    """(φ − E φ)/√Var φ at variance 1: centred and of second moment 1, as the paper assumes.

    Raises ValueError for a φ that is constant.
    """
    from ntkscope.activations.custom import custom

    of = activation(phi)
    table = hermite_coefficients(of, 0, np.ones(1))
    mean = float(table.values[0, 0])
    size = float(table.second_moment[0]) - mean**2
    if not size > _CONSTANT * mean**2:
        raise ValueError(f"{of} is constant, and nothing is left when its mean is taken out")
    scale = 1.0 / math.sqrt(size)
    return custom(
        lambda z: scale * (of.phi(z) - mean), name=f"{of}, normalised", kinks=of.kinks,
        derivative=lambda z: scale * of.derivative(z), second=lambda z: scale * of.second(z),
    )  # fmt: skip
