"""The limiting kernel of two inputs of one norm, as a function of their angle alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.kernels.limiting.recursion import Layer, Scales, assemble, scales_of
from ntkscope.networks.network import Network

_FIRST_ORDER = 128
_MAX_ORDER = 4096
_BLOCK = 16
_ACCURACY = 1e-13


def zonal_ntk(net: Network, norms_sq: Array, theta: Array) -> Array:
    """(T, n) κ(cos θ) for ‖x‖² = ‖y‖² = each of ``norms_sq``, in the units of ``limiting_ntk(net, X)``.

    Raises ValueError for a residual network, whose kernel also depends on the sums of the inputs'
    coordinates, for a kinked activation without a closed form, and where ``limiting_ntk`` raises.
    """
    scales = scales_of(net, net.n_outputs)
    return assemble(scales, zonal_layers(net, norms_sq, theta), ("ntk",))["ntk"][0][:, :-1]


def zonal_layers(net: Network, norms_sq: Array, theta: Array) -> Iterator[Layer]:
    """A_0, then (Ė^l, A_l) for l = 1, …, L−1, each (T, n+1) with θ = 0 in the last column.

    Raises as :func:`zonal_ntk` does.
    """
    if net.residual:
        raise ValueError(
            "a residual network's kernel depends on more than norms and angles (the sums of the "
            "coordinates enter through the skip connections), so it has no expansion by degree; "
            "compute limiting_ntk on data instead"
        )
    return _layers(scales_of(net, net.n_outputs), net.activation, norms_sq[:, None], theta)


def _layers(scales: Scales, phi: Activation, norms_sq: Array, theta: Array) -> Iterator[Layer]:
    # the last column is θ = 0, which carries the variances
    delta = 2.0 * np.sin(0.5 * np.append(theta, 0.0)) ** 2
    size = scales.input * norms_sq
    features = size * (1.0 - delta)
    yield Layer(features, None)
    lost = size * delta  # A(θ = 0) − A(θ): no cancellation in the first layer
    for n, beta_sq in zip(scales.sizes, scales.betas_sq, strict=False):
        variance = beta_sq * features[:, -1:] + scales.bias_var
        value, slope = _dual(phi, variance, np.clip(beta_sq * lost / variance, 0.0, 2.0))
        features = n * value
        lost = features[:, -1:] - features
        yield Layer(features, slope)


def _dual(phi: Activation, variance: Array, delta: Array) -> tuple[Array, Array]:
    """(E[φφ], E[φ′φ′]) at equal variances."""
    if phi.dual is not None:
        same = np.broadcast_to(variance, delta.shape)
        return phi.dual(same, same, delta)
    value, slope = powers(phi, tuple(variance[:, 0].tolist()))
    rho = 1.0 - delta
    return _power_series(value, rho), _power_series(slope, rho)


def _power_series(coefficients: Array, rho: Array) -> Array:
    """Σ_r c_r ρ^r for each row, in blocks of 16 powers: a product each, and Horner's rule over them."""
    rows = []
    for c, x in zip(coefficients, rho, strict=True):
        blocks = np.pad(c, (0, -len(c) % _BLOCK)).reshape(-1, _BLOCK)
        powers = np.cumprod(np.broadcast_to(x, (_BLOCK - 1, len(x))), 0)
        sums = blocks[:, :1] + blocks[:, 1:] @ powers
        total, leap = sums[-1], powers[-1] * x
        for part in sums[-2::-1]:
            total = total * leap + part
        rows.append(total)
    return np.stack(rows)


@lru_cache(maxsize=64)
def powers(phi: Activation, variances: tuple[float, ...]) -> tuple[Array, Array]:
    """Coefficients of ρ^r in E[φφ] and E[φ′φ′], the latter by E[φ′ h_r] = √(r+1) E[φ h_{r+1}]/√a."""
    a = np.array(variances)
    order = _FIRST_ORDER
    while True:
        found = hermite_coefficients(phi, order, a)
        squares = found.values**2
        slopes = squares[:, 1:] * np.arange(1.0, order + 1) / a[:, None]
        # the last eighth of the derivative's sum, which converges the slower of the two
        late = slopes[:, -(order // 8) :].sum(1)
        if bool((late <= _ACCURACY * slopes.sum(1)).all()):
            return squares, slopes
        order *= 2
        if order > _MAX_ORDER:
            raise ValueError(
                f"the Hermite series of {phi} does not converge within {_MAX_ORDER} terms at "
                f"variance {max(variances):.4g}; use an activation with a closed form or without "
                "kinks, or smaller norms"
            )
