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
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaln, gammaincc

from ntkscope.prediction import gegenbauer
from ntkscope.prediction.gegenbauer import Expansion, Kappa
from ntkscope.prediction.resolvent import Edge, Resolvent, State

Array = NDArray[np.float64]

SMALLEST = 1e-4  # below it κ(1) − κ(cos θ) follows its power law, where a difference loses digits
_STATES = 24  # of the resolvent, between λ_min = 0 and the edge
_DEEP = 12  # levels of λ_min far below it


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
    angles = _angles()
    theta = np.append(_below(expected_angle(dim, resolvent.n_samples)), angles)
    log_pairs = math.log(0.5 * resolvent.n_samples) + math.log(resolvent.n_samples - 1.0)
    pairs = _Pairs(
        np.log(theta), log_cap(dim, theta) + log_pairs,
        *_pair_scales(edge.state.S, resolvent.weights),
    )  # fmt: skip
    at, share = gegenbauer.law_of_angle(dim, resolvent.n_samples)
    values, near, far = np.split(
        kappa(np.concatenate([at, angles, math.pi - angles, [math.pi]])),
        [len(at), len(at) + len(angles)],
    )
    tables = _tables(expansion, near, far, theta, exponent)
    states = _path(resolvent, edge)
    rows = [Rows(resolvent, s, expansion, values, at, share, exponent) for s in states]
    # below z(m) = 0 the resolvent no longer changes: only the level does
    median = math.log(expected_angle(dim, resolvent.n_samples))
    first = np.maximum(rows[0].damping @ tables[0], 1e-300)
    lowest = 1e-3 * math.exp(float(np.interp(median, pairs.log_theta, np.log(first))))
    z = np.array([row.level for row in rows])
    top = int(np.argmax(z))
    begin = int(np.argmax(z > 1e-2 * z[top])) if z[top] > 0 else top
    deep = np.geomspace(min(lowest, 1e-3 * z[begin]), z[begin], _DEEP, endpoint=False)
    counts = [rows[begin].pairs(pairs, tables, level) for level in deep]
    counts += [row.pairs(pairs, tables, row.level) for row in rows[begin : top + 1]]
    return _law(np.append(deep, z[begin : top + 1]), np.array(counts))


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


def _below(closest: float) -> Array:
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


def _angles() -> Array:
    return np.append(
        np.geomspace(SMALLEST, 0.3, 60, endpoint=False), np.linspace(0.3, math.pi / 2, 90)
    )


@dataclass(frozen=True)
class _Pairs:
    """ln of the expected number of pairs within ln θ; relative S of groups of pairs, their shares."""

    log_theta: Array
    log_count: Array
    scales: Array
    shares: Array

    def below(self, D: Array, level: float) -> float:
        """Expected number of pairs with S-scaled D(θ) < ``level``."""
        rising = np.maximum.accumulate(np.log(np.maximum(D, 1e-300)))
        wanted = math.log(level) - np.log(self.scales)
        reach = np.interp(wanted, rising, self.log_theta)
        log_count = np.interp(reach, self.log_theta, self.log_count)
        log_count = np.where(wanted < rising[0], -np.inf, log_count)
        return float(np.sum(self.shares * np.exp(np.minimum(log_count, 600.0))))

    def averaged(self, probability: Array) -> float:
        """Expected number of pairs, each counted with a probability that depends on its angle."""
        count = np.exp(np.minimum(self.log_count, 600.0))
        middle = np.append(probability[0], 0.5 * (probability[1:] + probability[:-1]))
        return float(middle @ np.diff(count, prepend=0.0))


class Rows:
    """How the rows of one sample differ at one state of the resolvent.

    Row i meets its neighbours through h(θ) = Σ_r c_r P_r/(1 + γ_r a_r), and its S is
    S − (Σ_k h_ik² − its mean)/(S − z): a compound Poisson sum, for h is heavy-tailed. What does not
    pull an eigenvalue out by itself, |h| < S − z, moves the edge by the fourth cumulant,
    δ = N (E h⁴ − 3 (E h²)²)/(S − z)³, and ``level`` is z(m) − δ.
    """

    def __init__(
        self, resolvent: Resolvent, state: State, expansion: Expansion, values: Array, theta: Array,
        share: Array, exponent: int,
    ) -> None:  # fmt: skip
        self.exponent = exponent
        self.N = float(resolvent.n_samples)
        self.damping = 1.0 / (1.0 + resolvent.gamma * state.a)
        lost = expansion.coefficients * (1.0 - self.damping[:-1])
        h = np.abs(values - lost @ expansion.polynomials(theta))
        order = np.argsort(h)
        self.h, share = h[order], share[order]
        self.powers = [np.append(0.0, np.cumsum(share * self.h ** (2 * k))) for k in (1, 2, 3)]
        inverse = 1.0 / (state.S - state.z)
        w = resolvent.weights
        self.m = float(w @ inverse)
        self.equal = len(w) == 1
        # degrees beyond the expansion couple neighbours as well, where N points resolve them
        self.resolved = bool(resolvent.gamma[-2] <= 1.0)
        shift = 0.0
        for _ in range(3):
            k = int(np.searchsorted(self.h, 1.0 / self.m + shift))
            fourth = self.powers[1][k] - 3.0 * self.powers[0][k] ** 2
            # where norms differ the smallest rows decide, and there the correction was measured to
            # be too large by 2%: it is left out
            shift = max(self.N * fourth * self.m**3, 0.0) if self.equal and self.resolved else 0.0
        self.S = float(w @ state.S)
        # z − δ to first order, which a δ beyond its range cannot make negative
        self.level = state.z / (1.0 + shift / state.z) if state.z > 0 else state.z - shift

    def pairs(self, pairs: _Pairs, tables: Array, level: float) -> float:
        """Expected number of pairs that pull an eigenvalue below ``level``."""
        if not (self.equal and self.resolved):
            return sum(pairs.below(self.damping @ table, level) for table in tables)
        return sum(pairs.averaged(self._pulled(self.damping @ t, level)) for t in tables)

    def _pulled(self, D: Array, level: float) -> Array:
        """P((S_i − z)(S_j − z) < h_ij²) for pairs with this D, h_ij being their largest coupling.

        To first order in the sum Y of their other couplings it is Y > (a² − h²)/(2a), a = S − z.
        Y has jumps m h²/2 from 2(N − 2) rows, those below h_ij; its law is a gamma law with its
        first three cumulants. Near points share their neighbours: (h_ik − h_jk)² ~ θ², so Y counts by
        D/S where D ~ θ² and by (D/S)² at a kink.
        """
        h, a = self.S - D, self.S - level
        out = np.where(level > D, 1.0, 0.0)
        k = np.searchsorted(self.h, np.maximum(h, 0.0))
        n = 2.0 * max(self.N - 2.0, 0.0)
        step = 0.5 * self.m
        mean, second, third = (n * step**j * p[k] for j, p in enumerate(self.powers, 1))
        variance = second - mean**2 / max(n, 1.0)
        # to first order in Y means little where h ≪ a: couplings below 0.3 a are skipped, a cut
        # chosen by measurement and not derived
        use = (h > 0.3 * a) & (D > 0) & (third > 0) & (variance > 0)
        if n == 0 or not use.any():
            return out
        mean, variance, third, h, D = (x[use] for x in (mean, variance, third, h, D))
        shape, scale = 4.0 * variance**3 / third**2, third / (2.0 * variance)
        apart = (D / self.S) ** (2.0 / self.exponent)
        excess = n * step * self.powers[0][-1] + (a - h) * (a + h) / (2.0 * a) / apart - mean
        out[use] = gammaincc(shape, np.maximum(excess / scale + shape, 0.0))
        return out


def _tables(expansion: Expansion, near: Array, far: Array, theta: Array, exponent: int) -> Array:
    """(3, R+2, n): what each degree keeps in x − y for near pairs, and in x ∓ y for opposite ones.

    Below 1e-4 rad, where a difference of kernels has lost its digits, a degree grows like θ² and
    the tail like θ^p. ``near`` is κ at the other angles, ``far`` at π minus them and at π.
    """
    angles = _angles()
    P = expansion.polynomials(angles)
    signs = (-1.0) ** np.arange(len(P))[:, None]
    far, opposite = far[:-1], float(far[-1])
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
    """States from z(m) = 0 up to the edge, evenly spaced in ln m."""
    top = edge.state
    low = 1.0 / float(resolvent.weights @ resolvent.c.sum(axis=1))
    start = brentq(
        lambda x: resolvent.state(math.exp(x), top).z, math.log(low) - 1.0, math.log(top.m),
        xtol=1e-12,
    )  # fmt: skip
    states: list[State] = []
    for m in np.geomspace(math.exp(start), top.m, _STATES)[:-1]:
        states.append(resolvent.state(float(m), states[-1] if states else top))
    return [*states, top]


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
