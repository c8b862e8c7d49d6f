"""How the rows of one sample differ by the neighbours they have, at one state of the resolvent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.prediction.gegenbauer import Expansion
from ntkscope.prediction.pair_count import PairCount
from ntkscope.prediction.resolvent import Resolvent, State

_PASSES = 3  # of the cut at which a neighbour counts as a pair
# to first order in the couplings' sum means little where h ≪ a: those below 0.3 a are skipped, a cut
# chosen by measurement and not derived
_LEAST_COUPLING = 0.3


@dataclass(frozen=True)
class Couplings:
    """|h| of a row's neighbours in ascending order, and running sums of E h², E h⁴, E h⁶."""

    h: Array
    powers: list[Array]

    @classmethod
    def of(cls, h: Array, share: Array) -> Couplings:
        order = np.argsort(np.abs(h))
        size, share = np.abs(h)[order], share[order]
        powers = [np.append(0.0, np.cumsum(share * size ** (2 * k))) for k in (1, 2, 3)]
        return cls(size, powers)

    def shift(self, m: float, n_samples: float) -> float:
        """δ = N (E h⁴ − 3 (E h²)²) m³ over the h that pull no eigenvalue out, |h| < 1/m + δ."""
        shift = 0.0
        for _ in range(_PASSES):
            k = int(np.searchsorted(self.h, 1.0 / m + shift))
            fourth = self.powers[1][k] - 3.0 * self.powers[0][k] ** 2
            shift = max(n_samples * fourth * m**3, 0.0)
        return shift


class Rows:
    """The rows of one sample at one state of the resolvent.

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
        self.couplings = Couplings.of(values - lost @ expansion.polynomials(theta), share)
        w = resolvent.weights
        self.m = float(w @ (1.0 / (state.S - state.z)))
        self.S = float(w @ state.S)
        # where norms differ the smallest rows decide, and there the correction was measured to be too
        # large by 2%; degrees beyond the expansion couple neighbours as well, where N points resolve
        # them: in both cases it is left out
        self.counted = len(w) == 1 and bool(resolvent.gamma[-2] <= 1.0)
        shift = self.couplings.shift(self.m, self.N) if self.counted else 0.0
        # z − δ to first order, which a δ beyond its range cannot make negative
        self.level = state.z / (1.0 + shift / state.z) if state.z > 0 else state.z - shift

    def pairs(self, count: PairCount, tables: Array, level: float) -> float:
        """Expected number of pairs that pull an eigenvalue below ``level``."""
        if not self.counted:
            return sum(count.below(self.damping @ table, level) for table in tables)
        return sum(count.averaged(self._pulled(self.damping @ t, level)) for t in tables)

    def _pulled(self, D: Array, level: float) -> Array:
        """P((S_i − z)(S_j − z) < h_ij²) for pairs with this D, h_ij being their largest coupling.

        To first order in the sum Y of their other couplings it is Y > (a² − h²)/(2a), a = S − z.
        Y has jumps m h²/2 from 2(N − 2) rows, those below h_ij; its law is a gamma law with its
        first three cumulants. Near points share their neighbours: (h_ik − h_jk)² ~ θ², so Y counts by
        D/S where D ~ θ² and by (D/S)² at a kink.
        """
        h, a = self.S - D, self.S - level
        out = np.where(level > D, 1.0, 0.0)
        n = 2.0 * max(self.N - 2.0, 0.0)
        mean, second, third = self._moments_below(h, n)
        variance = second - mean**2 / max(n, 1.0)
        use = (h > _LEAST_COUPLING * a) & (D > 0) & (third > 0) & (variance > 0)
        if n == 0 or not use.any():
            return out
        mean, variance, third, h, D = (x[use] for x in (mean, variance, third, h, D))
        apart = (D / self.S) ** (2.0 / self.exponent)
        every = n * 0.5 * self.m * self.couplings.powers[0][-1]
        excess = every + (a - h) * (a + h) / (2.0 * a) / apart - mean
        out[use] = _gamma_tail(excess, variance, third)
        return out

    def _moments_below(self, h: Array, n: float) -> tuple[Array, Array, Array]:
        """The first three moments of n jumps m h²/2 below each of ``h``, summed."""
        k = np.searchsorted(self.couplings.h, np.maximum(h, 0.0))
        step = 0.5 * self.m
        mean, second, third = (n * step**j * p[k] for j, p in enumerate(self.couplings.powers, 1))
        return mean, second, third


def _gamma_tail(excess: Array, variance: Array, third: Array) -> Array:
    """P(Y − EY > excess) of a gamma law with this variance and third cumulant."""
    from scipy.special import gammaincc

    shape, scale = 4.0 * variance**3 / third**2, third / (2.0 * variance)
    return np.asarray(gammaincc(shape, np.maximum(excess / scale + shape, 0.0)))
