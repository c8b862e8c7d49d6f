"""E f(z) for a Gaussian z by adaptive quadrature: slow, and independent of the tables of coefficients."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntkscope.activations.activation import Activation, Elementwise

REACH = 39.0  # the standard normal density is 0 in float64 beyond it
DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Expectation:
    """E[f(z)] with the quadrature's own error estimate."""

    value: float
    error: float


def gaussian_expectation(
    f: Elementwise, variance: float = 1.0, kinks: tuple[float, ...] = ()
) -> Expectation:
    """E f(z) for z ~ N(0, variance), f a function of NumPy arrays, by adaptive quadrature.

    It splits at the kinks. Slow and independent of the tables below. Raises ValueError if the variance is negative or the
    integral is not finite.
    """
    if not variance >= 0:
        raise ValueError(f"variance must be at least 0, got {variance}")
    if variance == 0:
        return Expectation(float(f(np.zeros(1))[0]), 0.0)
    from scipy.integrate import quad  # 0.2 s that those who need no quadrature need not wait

    scale = math.sqrt(variance)

    def integrand(z: float) -> float:
        return float(f(np.array([scale * z]))[0]) * math.exp(-0.5 * z * z) * DENSITY

    cuts = sorted({-REACH, 0.0, REACH, *(k / scale for k in kinks if abs(k / scale) < REACH)})
    total, error = 0.0, 0.0
    for low, high in itertools.pairwise(cuts):
        # the mass sits within ten standard deviations; a cut there keeps quad from missing it
        inner = sorted({low, high, *(c for c in (-8.0, -2.0, 2.0, 8.0) if low < c < high)})
        for a, b in itertools.pairwise(inner):
            value, bar = quad(integrand, a, b, epsabs=0.0, epsrel=1e-13, limit=200)
            total, error = total + value, error + bar
    if not math.isfinite(total):
        raise ValueError(f"E f(z) is not finite for z ~ N(0, {variance})")
    return Expectation(total, error)


@lru_cache(maxsize=1024)
def second_moment(phi: Activation, variance: float) -> float:
    """c_{φ,σ} = E φ(z)² for z ~ N(0, σ²); Banerjee et al. 2023, Theorem 4.1."""
    return gaussian_expectation(lambda z: phi(z) ** 2, variance, phi.kinks).value
