"""How near the closest two of N random points are, and what that does to λ_min.

A pair at angle θ adds the direction (e_i − e_j)/√2, which the rest of the kernel sees through
D(θ) = Σ_r c_r (1 − P_r(cos θ))/(1 + γ_r a_r). Where D(θ) < z it pulls an eigenvalue below the bulk,
to the z(m) with D(θ; m) = z(m): at small angles that is K_ii − K_ij, at larger ones less by what
the other rows explain. Opposite points count in the same way through e_i + e_j where κ is odd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaln

from ntkscope.theory.gegenbauer import Expansion, Kappa
from ntkscope.theory.resolvent import Edge, Resolvent, State

Array = NDArray[np.float64]

_SMALLEST = 1e-4  # below it κ(1) − κ(cos θ) follows its power law, where a difference loses digits
_STATES = 12  # of the resolvent, between λ_min = 0 and the edge
_LEVELS = 80  # of λ_min, where its survival function is taken


def log_cap(dim: int, theta: Array) -> Array:
    """ln P(angle ≤ θ) for two uniform points on the sphere in R^dim, θ in (0, π/2]."""
    log_sin = np.log(np.sin(theta))
    p = (dim - 1) / 2.0
    with np.errstate(divide="ignore"):
        direct = np.log(0.5 * betainc(p, 0.5, np.exp(2.0 * log_sin)))
    # where the incomplete beta function underflows or θ² rounds, its leading term
    leading = 2.0 * p * log_sin - math.log(2.0 * p) - betaln(p, 0.5)
    return np.where((direct < -600.0) | (theta < 1e-6), leading, direct)


def expected_angle(dim: int, n_samples: float) -> float:
    """The median of the smallest angle among N uniform points on the sphere in R^dim."""
    log_pairs = math.log(n_samples) + math.log(max(n_samples - 1.0, 0.5)) - math.log(2.0)
    target = math.log(math.log(2.0)) - log_pairs
    grid = np.linspace(math.log(1e-40), math.log(math.pi / 2), 4000)
    logs = log_cap(dim, np.exp(grid))
    return float(np.exp(np.interp(target, logs, grid)))


@dataclass(frozen=True)
class Survival:
    """P(λ_min > z) on a grid of z from 0 to the bulk edge."""

    z: Array
    survival: Array

    @property
    def mean(self) -> float:
        """E λ_min = ∫ P(λ_min > z) dz."""
        return float(np.trapezoid(self.survival, self.z))

    @property
    def sd(self) -> float:
        """Standard deviation of λ_min from the pairs alone."""
        second = float(np.trapezoid(2.0 * self.z * self.survival, self.z))
        return math.sqrt(max(second - self.mean**2, 0.0))

    def quantile(self, q: float) -> float:
        """The value that λ_min stays below with probability q; the edge is an atom."""
        below = 1.0 - self.survival
        return float(np.interp(q, below, self.z)) if q < below[-1] else float(self.z[-1])

    @property
    def decided_by_pair(self) -> float:
        """P(a pair pulls λ_min below the edge)."""
        return 1.0 - float(self.survival[-1])


def survival(
    resolvent: Resolvent, edge: Edge, expansion: Expansion, kappa: Kappa, exponent: int, dim: int
) -> Survival:
    """The law of λ_min, pairs as a Poisson process of N(N−1)/2 · P(angle).

    ``exponent`` is that of κ(1) − κ(cos θ) ~ θ^p at small θ: 1 with kinks, 2 without.
    """
    theta = np.exp(np.linspace(math.log(1e-40), math.log(math.pi / 2), 400))
    logs = log_cap(dim, theta)
    low = int(np.searchsorted(theta, _SMALLEST))
    angles = theta[low:]
    P = expansion.polynomials(angles)
    signs = (-1.0) ** np.arange(len(P))
    at = kappa(np.concatenate([angles, math.pi - angles]))
    near, far = np.split(at, 2)
    c = expansion.coefficients
    # (R+2, n): what each degree keeps of a difference (near pairs) and of a sum (opposite ones)
    tables = []
    for kept, total in ((1.0 - P, expansion.total - near), (1.0 + signs[:, None] * P, expansion.total + far)):
        parts = c[:, None] * kept
        tables.append(np.vstack([parts, total - parts.sum(axis=0)]))
    scale, share = _pair_scales(edge.state.S, resolvent.weights)
    log_pairs = math.log(resolvent.n_samples) + math.log(resolvent.n_samples - 1.0) - math.log(2.0)
    states = _path(resolvent, edge)
    # ln D at the states, (2, states, angles); between them it is linear in z
    damping = np.array([1.0 / (1.0 + resolvent.gamma * s.a) for s in states])
    logs_D = np.log(np.maximum([damping @ table for table in tables], 1e-300))
    levels = _levels(states, edge, angles, logs_D[0, 0], dim, resolvent.n_samples, exponent)
    at = np.array([s.z for s in states])
    counts = np.zeros(len(levels))
    for index, z in enumerate(levels):
        j = int(np.clip(np.searchsorted(at, z), 1, len(at) - 1))
        f = (z - at[j - 1]) / (at[j] - at[j - 1])
        counts[index] = sum(
            _count((1.0 - f) * D[j - 1] + f * D[j], angles, z / scale, share, exponent, theta, logs, log_pairs)
            for D in logs_D
        )
    counts = np.maximum.accumulate(counts)
    return Survival(np.append(0.0, levels), np.append(1.0, np.exp(-counts)))


def _path(resolvent: Resolvent, edge: Edge) -> list[State]:
    """States from z(m) = 0 up to the edge, evenly spaced in m."""
    top = edge.state
    low = 1.0 / float(resolvent.weights @ resolvent.c.sum(axis=1))
    start = brentq(
        lambda x: resolvent.state(math.exp(x), top).z, math.log(low) - 1.0, math.log(top.m),
        xtol=1e-12,
    )  # fmt: skip
    states = [
        resolvent.state(float(m), top) for m in np.linspace(math.exp(start), top.m, _STATES)[:-1]
    ]
    return [*states, top]


def _levels(
    states: list[State], edge: Edge, angles: Array, log_D: Array, dim: int, n_samples: float,
    exponent: int,
) -> Array:  # fmt: skip
    """Values of z where the survival function is taken, dense at the edge and far below it."""
    typical = math.log(expected_angle(dim, n_samples))
    if typical < math.log(angles[0]):
        log_pair = float(log_D[0]) + exponent * (typical - math.log(angles[0]))
    else:
        log_pair = float(np.interp(typical, np.log(angles), log_D))
    lowest = min(math.exp(log_pair) * 1e-3, 1e-2 * edge.value)
    near = edge.value * (1.0 - 0.3 * np.linspace(1.0, 0.0, _LEVELS // 2) ** 2)
    return np.append(np.geomspace(lowest, near[0], _LEVELS // 2, endpoint=False), near)


def _pair_scales(S: Array, weights: Array) -> tuple[Array, Array]:
    """Harmonic means of S over pairs of classes, relative to the typical S, and their shares."""
    typical = float(weights @ S)
    if len(S) == 1:
        return np.ones(1), np.ones(1)
    pair = 2.0 * S[:, None] * S[None, :] / (S[:, None] + S[None, :]) / typical
    share = weights[:, None] * weights[None, :]
    order = np.argsort(pair, axis=None)
    values, mass = pair.reshape(-1)[order], share.reshape(-1)[order]
    # at most 40 groups: the smallest pairs matter most, so groups are of equal mass in the logarithm
    edges = np.unique(np.searchsorted(np.cumsum(mass), np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 40)])))
    edges = np.unique(np.append(edges[edges < len(mass)], len(mass)))
    total = np.add.reduceat(mass, edges[:-1])
    mean = np.add.reduceat(mass * values, edges[:-1]) / np.maximum(total, 1e-300)
    return mean, total


def _count(
    log_D: Array, angles: Array, level: Array, share: Array, exponent: int,
    theta: Array, logs: Array, log_pairs: float,
) -> float:  # fmt: skip
    """Expected number of pairs with D(θ) below ``level``, over the groups of pairs."""
    rising, wanted, grid = np.maximum.accumulate(log_D), np.log(level), np.log(angles)
    reach = np.interp(wanted, rising, grid)
    # below the grid D follows its power law where it has one (always for near pairs; for opposite
    # ones only when κ is odd), else it stays above the level
    doubled = float(np.interp(grid[0] + math.log(2.0), grid, rising))
    lawful = doubled - rising[0] > 0.9 * exponent * math.log(2.0)
    tiny = grid[0] + (wanted - rising[0]) / exponent
    reach = np.where(wanted < rising[0], tiny if lawful else -np.inf, reach)
    log_probability = np.interp(reach, np.log(theta), logs, left=-np.inf)
    return float(np.sum(share * np.exp(np.minimum(log_pairs + log_probability, 600.0))))
