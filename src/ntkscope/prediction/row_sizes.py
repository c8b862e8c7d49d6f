"""The variance over the rows of the size of each part of a layer.

The size of a part ψ at x is (1/n) Σ_j ψ(u_j(x))² over n neurons with pre-activations u_j = √q_s s_j + √q_v z_j(x):
s_j is common to all inputs and is drawn once, z_j varies with x. Both variances differ from row to row
too, through the layer below: q_v with the varying part of its features, q_s with their projection on
the mean features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.activation import Activation

_NODES = 80
_TIMES, _TIME_WEIGHTS = np.polynomial.laguerre.laggauss(24)


@dataclass(frozen=True, eq=False)
class Size:
    """A part's squared size.

    squares: ψ² over its mean on the nodes of (s, z); None for a part that vanishes.
    elasticity: the derivatives of ln E ψ² by (ln q_v, ln q_s).
    """

    squares: Array | None
    elasticity: Array

    def own(self, neurons: float, weighted: bool = False) -> float:
        """ln E 1/S for S the mean of ψ² over the neurons, which is Var S where that is small.

        Sums of heavy-tailed squares have a light lower tail, and that is the tail that counts.
        ``weighted``: each square times a χ² of one degree that is drawn anew for every row.
        """
        if self.squares is None:
            return 0.0
        _, w = _gauss_hermite()
        tau = (_TIMES / neurons)[:, None, None] * self.squares
        laplace = 1.0 / np.sqrt(1.0 + 2.0 * tau) if weighted else np.exp(-tau)
        # E 1/S = ∫ E e^{−tS} dt, by Gauss-Laguerre
        logs = neurons * (np.log(np.maximum(laplace @ w, 1e-300)) @ w)
        return max(math.log(float(_TIME_WEIGHTS @ np.exp(logs + _TIMES))), 0.0)

    def spread(self, layer: int, neurons: float, uneven: Array) -> Array:
        """Variance of the logarithm from row to row, by the layer whose neurons it comes from.

        ``uneven`` is the covariance of (q_v, q_s), (L − 1, 2, 2), by the layer that it comes from.
        """
        return self.inherited(uneven) + at_layer(layer, self.own(neurons), len(uneven))

    def inherited(self, uneven: Array) -> Array:
        """What the layers below hand on."""
        return np.maximum(np.einsum("lij,i,j->l", uneven, self.elasticity, self.elasticity), 0.0)


def at_layer(layer: int, value: float, layers: int) -> Array:
    """``value`` at the place of hidden layer ``layer``, counted from 1; zeros elsewhere."""
    return np.where(np.arange(layers) == layer - 1, value, 0.0)


@dataclass(frozen=True, eq=False)
class Neuron:
    """ψ = φ or φ′ in its parts: linear in z, the rest, both; and its mean over z, by its square.

    covariance: n times that of (Σ_j varying², projection² on the mean) relative to their means.
    """

    linear: Size
    rest: Size
    varying: Size
    mean: Size
    covariance: Array

    def uneven(self, layer: int, neurons: float, below: Array) -> Array:
        """The covariance of (q_v, q_s) that the next layer sees, by the layer that it comes from."""
        jacobian = np.stack([self.varying.elasticity, self.mean.elasticity])
        handed_on = jacobian @ below @ jacobian.T
        handed_on[layer - 1] += self.covariance / neurons
        handed_on[layer - 1, 0, 0] += self.varying.own(neurons) - self.covariance[0, 0] / neurons
        return np.asarray(handed_on)


@lru_cache(maxsize=256)
def neuron(phi: Activation, q_v: float, q_s: float, slope: bool) -> Neuron:
    """The parts of φ, or of φ′ for ``slope``, at these variances of the pre-activation."""
    z, w = _gauss_hermite()
    at = math.sqrt(q_s) * z[:, None] + math.sqrt(q_v) * z[None, :]
    whole = (phi.derivative if slope else phi.phi)(at)
    mean, first = whole @ w, (whole * z) @ w
    varying = whole - mean[:, None]
    linear = first[:, None] * z
    parts = (linear, varying - linear, varying, np.broadcast_to(mean[:, None], whole.shape))
    # d E g(√q z)/d ln q = E (z² − 1) g/2
    by_v_mean = float(w @ (mean * ((whole * (z**2 - 1.0)) @ w)))
    by_v_linear = float(w @ (first * ((whole * (z**3 - 2.0 * z)) @ w)))
    by_v_whole = 0.5 * float(w @ ((whole**2 * (z**2 - 1.0)) @ w))
    by_v = (by_v_linear, by_v_whole - by_v_mean - by_v_linear, by_v_whole - by_v_mean, by_v_mean)
    least = 1e-14 * float(w @ (whole**2 @ w))
    made = []
    for values, slope_v in zip(parts, by_v, strict=True):
        of_s = values**2 @ w
        size = float(w @ of_s)
        if size <= least:
            made.append(Size(None, np.zeros(2)))
            continue
        slope_s = 0.5 * float(w @ (of_s * (z**2 - 1.0)))
        made.append(Size(values**2 / size, np.array([slope_v, slope_s]) / size))
    return Neuron(made[0], made[1], made[2], made[3], _covariance(mean, varying))


def _covariance(m: Array, c: Array) -> Array:
    """A neuron's part of the covariance of Σ_j c_j² and of (Σ_j m_j (m_j + c_j))²/Σ_j m_j²."""
    _, w = _gauss_hermite()
    second, third, fourth = ((c**k) @ w for k in (2, 3, 4))
    size_c, size_m = float(w @ second), float(w @ m**2)
    if size_m <= 1e-14 * size_c or size_c <= 1e-14 * size_m:
        return np.zeros((2, 2))
    vv = float(w @ (fourth - second**2)) / size_c**2
    ss = 4.0 * float(w @ (m**2 * second)) / size_m**2
    vs = 2.0 * float(w @ (m * third)) / (size_c * size_m)
    return np.array([[vv, vs], [vs, ss]])


@lru_cache(maxsize=1)
def _gauss_hermite() -> tuple[Array, Array]:
    z, w = np.polynomial.hermite_e.hermegauss(_NODES)
    return z, w / w.sum()
