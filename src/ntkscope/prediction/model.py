"""The kernel of random inputs as the predictor sees it: classes of norms, degrees, a resolvent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.kernels.limiting.zonal import zonal_ntk
from ntkscope.networks.network import Network
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.norms import Norms, resolve
from ntkscope.prediction.resolvent import Resolvent

MAX_SAMPLES = 1e15
_NODES, _MAX_NODES = 7, 127  # in ln t for activations that are not homogeneous
_SLACK = 10.0  # Lebesgue's constant of 127 nodes is 4, and both extremes round


@dataclass(frozen=True)
class Model:
    """Everything that a prediction is made of."""

    network: Network
    n_samples: int | float
    dim: int
    norms: Norms
    expansion: gegenbauer.Expansion
    kappa: gegenbauer.Kappa
    resolvent: Resolvent
    low: Resolvent | None = None  # with the smallest norms at their 16% and 84% quantiles
    high: Resolvent | None = None


def model_of(net: Network, n_samples: int | float, dim: int | None, data: Any) -> Model:
    if not isinstance(net, Network):
        raise TypeError(
            f"net must be a Network, got {type(net).__name__}; a sampled MLP has it as .network"
        )
    N = _samples(n_samples)
    if dim is not None and dim != net.dim:
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"dim must be an integer, got {dim!r}")
        net = net.with_widths((dim, *net.widths[1:]))
    d = net.dim
    norms = resolve(data, N, d)
    typical = float(norms.weights @ norms.t)
    kappa = zonal(net, typical * d)
    expansion = gegenbauer.expand(kappa, d, N)
    gamma = np.append(np.exp(math.log(N) - expansion.log_multiplicities), 0.0)
    rows = _coefficients(net, norms, typical, expansion, N)
    return Model(
        net, N, d, norms, expansion, kappa,
        *(Resolvent(N, gamma, c, norms.weights, scales) for c, scales in rows),
    )  # fmt: skip


def _samples(n_samples: Any) -> float:
    if isinstance(n_samples, bool) or not isinstance(n_samples, (int, float, np.integer)):
        raise TypeError(f"n_samples must be a number, got {n_samples!r}")
    if not (
        math.isfinite(n_samples) and 2 <= n_samples <= MAX_SAMPLES and n_samples == int(n_samples)
    ):
        raise ValueError(
            f"n_samples must be an integer from 2 to {MAX_SAMPLES:.0e}, got {n_samples}"
        )
    return float(n_samples)


def zonal(net: Network, norm_sq: float) -> gegenbauer.Kappa:
    """θ → κ(cos θ) of ``net`` for inputs of one norm."""

    def kappa(theta: Array) -> Array:
        return np.asarray(zonal_ntk(net, np.array([norm_sq]), theta)[0])

    return kappa


def _coefficients(
    net: Network, norms: Norms, typical: float, expansion: gegenbauer.Expansion, N: float
) -> list[tuple[Array, Array | None]]:
    """((T, R+2) c_r(t), t of a homogeneous kernel) for the norms and for each of their spread."""
    mean = np.append(expansion.coefficients, expansion.tail)
    if norms.equal:
        return [(mean[None, :], None)]
    every = (norms.t, *norms.spread)
    if net.activation.homogeneity == 1 and net.bias_std is None:
        return [(t[:, None] * mean / typical, t / float(norms.weights @ t)) for t in every]
    return [(c, None) for c in _interpolated(net, every, expansion, N)]


def _interpolated(
    net: Network, every: tuple[Array, ...], expansion: gegenbauer.Expansion, N: float
) -> list[Array]:
    """c_r(t), smooth in ln t, by Chebyshev nodes between the extremes: as many as it takes.

    A Gram matrix has no coefficient below 0: the nodes are enough where none comes out lower than its
    own rounding, which is then taken off. Raises ValueError where no number of nodes is enough.
    """
    low, high = (math.log(float(f(np.concatenate(every)))) for f in (np.min, np.max))
    theta = gegenbauer.nodes(expansion.dim, N)
    nodes = _NODES
    while nodes <= _MAX_NODES:
        x = np.cos((np.arange(nodes) + 0.5) * math.pi / nodes)
        sizes = np.exp(0.5 * (low + high) + 0.5 * (high - low) * x) * expansion.dim
        values = zonal_ntk(net, sizes, theta)
        found = [gegenbauer.expand_values(row, expansion.dim, N) for row in values]
        table = np.array([np.append(e.coefficients, e.tail) for e in found])
        fit = np.polynomial.chebyshev.chebfit(x, table, nodes - 1)
        at = [(2.0 * np.log(t) - low - high) / (high - low) for t in every]
        made = [np.asarray(np.polynomial.chebyshev.chebval(y, fit).T) for y in at]
        noise = np.max([np.append(e.noise, e.error) for e in found], axis=0)
        if all(bool(np.all(c >= -_SLACK * noise)) for c in made):
            return [np.maximum(c, 0.0) for c in made]
        nodes = 2 * nodes + 1
    raise ValueError(
        f"no prediction: the norms spread over a factor {math.exp(0.5 * (high - low)):.3g}, too far for "
        "the kernel's coefficients to be interpolated; scale the rows to one norm"
    )
