"""How many pairs of random points lie below an angle, or below a level of the kernel between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.prediction.caps import log_cap

_GROUPS = 40  # of pairs of norm classes
_LARGEST_LOG = 600.0  # of a count: e^600 pairs are as certain as any number of them


@dataclass(frozen=True)
class PairCount:
    """ln of the expected number of pairs within each angle, and groups of pairs of unequal rows.

    log_theta, log_count: (n,) in ascending order. scales, shares: relative S of the groups of pairs,
    and which share of the pairs each is.
    """

    log_theta: Array
    log_count: Array
    scales: Array
    shares: Array

    @classmethod
    def of(
        cls, theta: Array, dim: int, n_samples: int | float, S: Array, weights: Array
    ) -> PairCount:
        """N(N−1)/2 pairs of uniform points, their rows of sizes S with these weights."""
        log_pairs = math.log(0.5 * n_samples) + math.log(n_samples - 1.0)
        scales, shares = _groups_of_pairs(S, weights)
        return cls(np.log(theta), log_cap(dim, theta) + log_pairs, scales, shares)

    def below(self, D: Array, level: float) -> float:
        """Expected number of pairs with S-scaled D(θ) < ``level``."""
        rising = np.maximum.accumulate(np.log(np.maximum(D, 1e-300)))
        wanted = math.log(level) - np.log(self.scales)
        reach = np.interp(wanted, rising, self.log_theta)
        log_count = np.interp(reach, self.log_theta, self.log_count)
        log_count = np.where(wanted < rising[0], -np.inf, log_count)
        return float(np.sum(self.shares * np.exp(np.minimum(log_count, _LARGEST_LOG))))

    def averaged(self, probability: Array) -> float:
        """Expected number of pairs, each counted with a probability that depends on its angle."""
        count = np.exp(np.minimum(self.log_count, _LARGEST_LOG))
        middle = np.append(probability[0], 0.5 * (probability[1:] + probability[:-1]))
        return float(middle @ np.diff(count, prepend=0.0))


def _groups_of_pairs(S: Array, weights: Array) -> tuple[Array, Array]:
    """Harmonic means of S over pairs of classes, relative to the typical S, and their shares."""
    typical = float(weights @ S)
    if len(S) == 1:
        return np.ones(1), np.ones(1)
    pair = 2.0 * S[:, None] * S[None, :] / (S[:, None] + S[None, :]) / typical
    share = weights[:, None] * weights[None, :]
    order = np.argsort(pair, axis=None)
    values, mass = pair.reshape(-1)[order], share.reshape(-1)[order]
    # the smallest pairs matter most, so groups are of equal mass in the logarithm
    wanted = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, _GROUPS)])
    edges = np.unique(np.searchsorted(np.cumsum(mass), wanted))
    edges = np.unique(np.append(edges[edges < len(mass)], len(mass)))
    total = np.add.reduceat(mass, edges[:-1])
    mean = np.add.reduceat(mass * values, edges[:-1]) / np.maximum(total, 1e-300)
    return mean, total
