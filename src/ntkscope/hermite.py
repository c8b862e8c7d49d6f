"""Gaussian expectations of activations."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import quad

from ntkscope.activations import Activation, Elementwise

_REACH = 39.0  # the standard normal density is 0 in float64 beyond it


@dataclass(frozen=True)
class Expectation:
    """E[f(z)] with the quadrature's own error estimate."""

    value: float
    error: float


def gaussian_expectation(
    f: Elementwise, variance: float = 1.0, kinks: tuple[float, ...] = ()
) -> Expectation:
    """E f(z) for z ~ N(0, variance), by adaptive quadrature split at the kinks.

    Raises ValueError if the variance is negative or the integral is not finite.
    """
    if not variance >= 0:
        raise ValueError(f"variance must be at least 0, got {variance}")
    if variance == 0:
        return Expectation(float(f(torch.zeros((), dtype=torch.float64))), 0.0)
    scale = math.sqrt(variance)

    def integrand(z: float) -> float:
        value = float(f(torch.tensor(scale * z, dtype=torch.float64)))
        return value * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    cuts = sorted({-_REACH, 0.0, _REACH, *(k / scale for k in kinks if abs(k / scale) < _REACH)})
    total, error = 0.0, 0.0
    for low, high in itertools.pairwise(cuts):
        # the mass sits within ten standard deviations; a cut there keeps quad from missing it
        inner = sorted({low, high, *(c for c in (-8.0, -2.0, 2.0, 8.0) if low < c < high)})
        for a, b in itertools.pairwise(inner):
            value, bar = quad(integrand, a, b, epsabs=0.0, epsrel=1e-13, limit=200)
            total, error = total + value, error + bar
    if not np.isfinite(total):
        raise ValueError(f"E f(z) is not finite for z ~ N(0, {variance})")
    return Expectation(total, error)


def second_moment(phi: Activation, variance: float) -> float:
    """c_{φ,σ} = E φ(z)² for z ~ N(0, σ²); Banerjee et al. 2023, Theorem 4.1."""
    return gaussian_expectation(lambda z: phi(z) ** 2, variance, phi.kinks).value
