"""How near the closest two of N random points are, and what that does to λ_min.

A pair at angle θ adds the direction (e_i − e_j)/√2, which the rest of the kernel sees through
D(θ) = Σ_r c_r (1 − P_r(cos θ))/(1 + γ_r a_r). Where D(θ) < z it pulls an eigenvalue below the bulk,
to the z(m) with D(θ; m) = z(m): at small angles that is K_ii − K_ij, at larger ones less by what
the other rows explain. Opposite points count in the same way through e_i + e_j where κ is odd.
Rows also differ in how many near neighbours they have, which moves the edge and helps the pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.caps import above_smallest, below_smallest, expected_angle
from ntkscope.prediction.gegenbauer import Expansion, Kappa
from ntkscope.prediction.neighbours import Rows
from ntkscope.prediction.pair_count import PairCount
from ntkscope.prediction.pair_kernel import kept
from ntkscope.prediction.resolvent import Edge, Resolvent, State
from ntkscope.prediction.roots import find_root

_STATES = 24  # of the resolvent, between λ_min = 0 and the edge
_DEEP = 12  # levels of λ_min far below it


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
    closest = expected_angle(dim, resolvent.n_samples)
    angles = above_smallest()
    theta = np.append(below_smallest(closest), angles)
    count = PairCount.of(theta, dim, resolvent.n_samples, edge.state.S, resolvent.weights)
    at, share = gegenbauer.law_of_angle(dim, resolvent.n_samples)
    values, near, far = np.split(
        kappa(np.concatenate([at, angles, math.pi - angles, [math.pi]])),
        [len(at), len(at) + len(angles)],
    )
    tables = kept(expansion, near, far, theta, exponent)
    states = _states_up_to(resolvent, edge)
    rows = [Rows(resolvent, s, expansion, values, at, share, exponent) for s in states]
    z = np.array([row.level for row in rows])
    top = int(np.argmax(z))
    begin = int(np.argmax(z > 1e-2 * z[top])) if z[top] > 0 else top
    # below z(m) = 0 the resolvent no longer changes: only the level does
    first = np.maximum(rows[0].damping @ tables[0], 1e-300)
    lowest = 1e-3 * math.exp(float(np.interp(math.log(closest), count.log_theta, np.log(first))))
    deep = np.geomspace(min(lowest, 1e-3 * z[begin]), z[begin], _DEEP, endpoint=False)
    counts = [rows[begin].pairs(count, tables, level) for level in deep]
    counts += [row.pairs(count, tables, row.level) for row in rows[begin : top + 1]]
    return _law(np.append(deep, z[begin : top + 1]), np.array(counts))


def _states_up_to(resolvent: Resolvent, edge: Edge) -> list[State]:
    """States from z(m) = 0 up to the edge, evenly spaced in ln m."""
    top = edge.state
    low = 1.0 / float(resolvent.weights @ resolvent.c.sum(axis=1))

    def z_at(log_m: float) -> float:
        return resolvent.state(math.exp(log_m), top).z

    start = find_root(z_at, math.log(low) - 1.0, math.log(top.m), 1e-12)
    states: list[State] = []
    for m in np.geomspace(math.exp(start), top.m, _STATES)[:-1]:
        states.append(resolvent.state(float(m), states[-1] if states else top))
    return [*states, top]


def _law(levels: Array, counts: Array) -> Survival:
    """exp(−count) on a fine grid: between two levels ln count is linear in ln z, as a power law is."""
    levels, counts = np.maximum.accumulate(levels), np.maximum.accumulate(counts)
    fine = np.concatenate([
        np.geomspace(levels[0], levels[-1], 200, endpoint=False),
        np.linspace(0.5 * levels[-1], levels[-1], 200),
    ])  # fmt: skip
    fine.sort()
    log_count = np.interp(np.log(fine), np.log(levels), np.log(np.maximum(counts, 1e-300)))
    return Survival(np.append(0.0, fine), np.append(1.0, np.exp(-np.exp(log_count))))
