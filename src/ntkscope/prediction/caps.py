"""The angle between two uniform points on a sphere: its law, the smallest of many, a grid for both."""

from __future__ import annotations

import math

import numpy as np

from ntkscope._base.arrays import Array

SMALLEST = 1e-4  # below it κ(1) − κ(cos θ) follows its power law, where a difference loses digits


def log_cap(dim: int, theta: Array) -> Array:
    """ln P(angle ≤ θ) for two uniform points on the sphere in R^dim, θ in (0, π/2]."""
    from scipy.special import betainc, betaln

    log_sin = np.log(np.sin(theta))
    p = (dim - 1) / 2.0
    with np.errstate(divide="ignore"):
        direct = np.log(0.5 * betainc(p, 0.5, np.exp(2.0 * log_sin)))
    # where the incomplete beta function underflows or θ² rounds, its leading term
    leading = 2.0 * p * log_sin - math.log(2.0 * p) - betaln(p, 0.5)
    return np.where((direct < -600.0) | (theta < 1e-6), leading, direct)


def expected_angle(dim: int, n_samples: int | float) -> float:
    """The median of the smallest angle among N uniform points on the sphere in R^dim."""
    log_pairs = math.log(n_samples) + math.log(max(n_samples - 1.0, 0.5)) - math.log(2.0)
    target = math.log(math.log(2.0)) - log_pairs
    grid = np.linspace(math.log(1e-40), math.log(math.pi / 2), 4000)
    logs = log_cap(dim, np.exp(grid))
    return float(np.exp(np.interp(target, logs, grid)))


def below_smallest(closest: float) -> Array:
    """Angles up to ``SMALLEST``, 60 a decade about the closest pair's where that lies among them."""
    start = max(closest / 100.0, 1e-39)
    if start >= SMALLEST:
        return np.geomspace(1e-40, SMALLEST, 60, endpoint=False)
    fine = min(SMALLEST, 100.0 * closest)
    count = max(2, math.ceil(60.0 * math.log10(fine / start)))
    return np.concatenate([
        np.geomspace(1e-40, start, 30, endpoint=False),
        np.geomspace(start, fine, count, endpoint=False),
        np.geomspace(fine, SMALLEST, 60, endpoint=False) if fine < SMALLEST else [],
    ])  # fmt: skip


def above_smallest() -> Array:
    """150 angles from ``SMALLEST`` to π/2."""
    return np.append(
        np.geomspace(SMALLEST, 0.3, 60, endpoint=False), np.linspace(0.3, math.pi / 2, 90)
    )
