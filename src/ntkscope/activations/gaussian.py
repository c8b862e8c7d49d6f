"""Activations made of the normal distribution function: erf and GELU, with their closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, namespace, special
from ntkscope.activations import balls
from ntkscope.activations.activation import Activation
from ntkscope.activations.registry import register_activation

_SQRT2 = math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


def erf() -> Activation:
    """erf z = 2/√π ∫₀ᶻ e^{-t²} dt."""
    slope = 2.0 / math.sqrt(math.pi)

    def derivative(z: Any) -> Any:
        return slope * namespace(z).exp(-z * z)

    return Activation(
        "erf",
        lambda z: special(z).erf(z),
        derivative,
        lambda z: -2.0 * z * derivative(z),
        slope,
        slope * math.sqrt(2.0 / math.e),
        slopes=(0.0, slope),
        dual=_erf_dual,
        hermite=_erf_hermite,
        ball=balls.smooth(
            lambda z, _: z.erf(), lambda z, _: 2 * (-z * z).exp() / type(z).pi().sqrt(), 1.13
        ),
    )


def gelu() -> Activation:
    """zΦ(z) with the exact normal distribution function Φ, not the tanh approximation."""
    # sup φ′ is at z = √2 (φ″ = (2 − z²)·density); sup |φ″| = φ″(0) = 2/√(2π)
    slope = 0.5 * math.erfc(-1.0) + _SQRT2 * _INV_SQRT_2PI * math.exp(-1.0)
    return Activation(
        "gelu",
        lambda z: z * _normal_cdf(z),
        lambda z: _normal_cdf(z) + z * _density(z),
        lambda z: (2.0 - z * z) * _density(z),
        slope,
        2.0 * _INV_SQRT_2PI,
        slopes=(1.0 - slope, slope),  # φ(z) − φ(−z) = z, so φ′(z) + φ′(−z) = 1
        dual=_gelu_dual,
        ball=balls.smooth(
            lambda z, _: z * balls.normal_cdf(z),
            lambda z, _: balls.normal_cdf(z) + z * balls.normal_density(z), 1.13,
        ),
    )  # fmt: skip


def _density(z: Any) -> Any:
    return _INV_SQRT_2PI * namespace(z).exp(-0.5 * z * z)


def _normal_cdf(z: Any) -> Any:
    return 0.5 * special(z).erfc(-z / _SQRT2)


def _erf_dual(a: Any, b: Any, delta: Any) -> tuple[Any, Any]:
    """Williams 1997: (2/π) asin(2C/√((1+2a)(1+2b)))."""
    xp = namespace(a)
    c = xp.sqrt(a * b) * (1.0 - delta)
    # (1+2a)(1+2b) − 4C² with 1 − ρ² = δ(2 − δ), so that nothing cancels at ρ = ±1
    gap = 1.0 + 2.0 * (a + b) + 4.0 * a * b * (delta * (2.0 - delta))
    root = xp.sqrt(gap)
    return (2.0 / math.pi) * xp.arctan2(2.0 * c, root), (4.0 / math.pi) / root


def _erf_hermite(order: int, a: Array, derivative: bool) -> tuple[Array, Array]:
    t = np.sqrt(2.0 * a / (1.0 + 2.0 * a))
    values = np.zeros((len(a), order + 1))
    # E[φ(u)φ(v)] = (2/π) asin(t_a t_b ρ), E[φ′φ′] = (4/π)/√((1+2a)(1+2b)) (1 − (t_a t_b ρ)²)^{-1/2}
    ratio, power = 1.0, 1.0
    for k in range((order + 2) // 2):
        r = 2 * k if derivative else 2 * k + 1
        if r > order:
            break
        # ratio = (2k)!/(4^k k!²), the coefficient of (1 − x²)^{-1/2}
        c = ratio if derivative else ratio / (2 * k + 1)
        values[:, r] = power * math.sqrt(c) * t**r
        ratio *= (2 * k + 1) / (2 * k + 2)
        power = -power
    if derivative:
        values *= np.sqrt(4.0 / math.pi / (1.0 + 2.0 * a))[:, None]
        return values, 4.0 / (math.pi * np.sqrt(1.0 + 4.0 * a))
    values *= math.sqrt(2.0 / math.pi)
    return values, (2.0 / math.pi) * np.arctan2(2.0 * a, np.sqrt(1.0 + 4.0 * a))


def _gelu_dual(a: Any, b: Any, delta: Any) -> tuple[Any, Any]:
    """zΦ(z), by Stein's lemma from E[Φ(u)Φ(v)] = ¼ + asin(C/√((1+a)(1+b)))/2π (Tsuchida et al. 2021)."""
    xp = namespace(a)
    c = xp.sqrt(a * b) * (1.0 - delta)
    gap = 1.0 + a + b + a * b * (delta * (2.0 - delta))  # (1+a)(1+b) − C²
    root = xp.sqrt(gap)
    density = 1.0 / (2.0 * math.pi * root)  # E[φ_N(u) φ_N(v)], φ_N the normal density
    both = 0.25 + xp.arctan2(c, root) / (2.0 * math.pi)
    product = (1.0 + a) * (1.0 + b)
    value = c * both + density * (a * b + c * c * (1.0 - a * b) / product)
    slope = both + c * density * ((2.0 + a + b) / product + 1.0 / gap)
    return value, slope


register_activation("erf", erf)
register_activation("gelu", gelu)
