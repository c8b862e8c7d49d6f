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


def expected_angle(dim: int, n_samples: int | float) -> float:
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
    theta = np.append(np.geomspace(1e-40, _SMALLEST, 60, endpoint=False), _angles())
    pairs = _Pairs(
        np.log(theta),
        log_cap(dim, theta) + math.log(0.5 * resolvent.n_samples) + math.log(resolvent.n_samples - 1.0),
        *_pair_scales(edge.state.S, resolvent.weights),
    )  # fmt: skip
    tables = _tables(expansion, kappa, theta, exponent)
    states = _path(resolvent, edge)
    # ln D at the states, (tables, states, angles); between them it is linear in z
    damping = np.array([1.0 / (1.0 + resolvent.gamma * s.a) for s in states])
    log_D = np.log(np.maximum(damping @ tables, 1e-300))
    levels = _levels(edge, float(np.interp(
        math.log(expected_angle(dim, resolvent.n_samples)), pairs.log_theta, log_D[0, 0]
    )))  # fmt: skip
    z = np.array([s.z for s in states])
    counts = np.zeros(len(levels))
    for index, level in enumerate(levels):
        j = int(np.clip(np.searchsorted(z, level), 1, len(z) - 1))
        f = (level - z[j - 1]) / (z[j] - z[j - 1])
        counts[index] = sum(pairs.below((1.0 - f) * D[j - 1] + f * D[j], level) for D in log_D)
    counts = np.maximum.accumulate(counts)
    return Survival(np.append(0.0, levels), np.append(1.0, np.exp(-counts)))


def _angles() -> Array:
    return np.geomspace(_SMALLEST, math.pi / 2, 120)


@dataclass(frozen=True)
class _Pairs:
    """ln of the expected number of pairs within ln θ; relative S of groups of pairs, their shares."""

    log_theta: Array
    log_count: Array
    scales: Array
    shares: Array

    def below(self, log_D: Array, level: float) -> float:
        """Expected number of pairs with S-scaled D(θ) < ``level``."""
        rising = np.maximum.accumulate(log_D)
        wanted = math.log(level) - np.log(self.scales)
        reach = np.interp(wanted, rising, self.log_theta)
        log_count = np.interp(reach, self.log_theta, self.log_count)
        log_count = np.where(wanted < rising[0], -np.inf, log_count)
        return float(np.sum(self.shares * np.exp(np.minimum(log_count, 600.0))))


def _tables(expansion: Expansion, kappa: Kappa, theta: Array, exponent: int) -> Array:
    """(3, R+2, n): what each degree keeps in x − y for near pairs, and in x ∓ y for opposite ones.

    Below 1e-4 rad, where a difference of kernels has lost its digits, a degree grows like θ² and
    the tail like θ^p.
    """
    angles = _angles()
    P = expansion.polynomials(angles)
    signs = (-1.0) ** np.arange(len(P))[:, None]
    near, far = np.split(kappa(np.concatenate([angles, math.pi - angles])), 2)
    opposite = float(kappa(np.array([math.pi]))[0])
    total, c = expansion.total, expansion.coefficients[:, None]
    small = theta[: len(theta) - len(angles)] / angles[0]
    tables = []
    for sign, of_pair, at_zero in (
        (np.ones_like(signs), near, total),
        (signs, far, opposite),
        (-signs, -far, -opposite),
    ):
        parts, start = c * (1.0 - sign * P), c * (1.0 - sign)
        rest = (total - of_pair) - parts.sum(axis=0)
        rest_start = total - at_zero - start.sum() if at_zero != total else 0.0
        first = np.vstack([start, [[rest_start]]])
        grown = np.vstack([parts, rest])
        power = np.vstack([np.broadcast_to(small**2, (len(P), len(small))), small**exponent])
        tables.append(np.hstack([first + (grown[:, :1] - first) * power, grown]))
    return np.array(tables)


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


def _levels(edge: Edge, log_pair: float) -> Array:
    """Values of z where the survival function is taken, dense at the edge and far below it.

    ``log_pair`` is ln of what the median closest pair would give.
    """
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
    edges = np.unique(
        np.searchsorted(np.cumsum(mass), np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 40)]))
    )
    edges = np.unique(np.append(edges[edges < len(mass)], len(mass)))
    total = np.add.reduceat(mass, edges[:-1])
    mean = np.add.reduceat(mass * values, edges[:-1]) / np.maximum(total, 1e-300)
    return mean, total
