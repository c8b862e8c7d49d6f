"""The lowest eigenvalues of a matrix that can be factored, with their certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ntkscope.spectra.eigenvalue import Bound
from ntkscope.spectra.progress import Callback, Stage
from ntkscope.spectra.proof.certify import (
    Deflation,
    Rayleigh,
    Shifted,
    cholesky_bound,
    lehmann,
    rayleigh,
)
from ntkscope.spectra.rounding import U, down_to, up, up_to
from ntkscope.spectra.solvers.krylov import Ritz, block_lanczos, norm_estimate, random_block
from ntkscope.spectra.solvers.quick import finished, single_start
from ntkscope.spectra.storage.panels import Factored, Panels, shortfall
from ntkscope.spectra.storage.source import Source

SMALL = 256
"""Up to this size all eigenpairs are computed at once (LAPACK)."""

_MAX_COLUMNS = 600
_BLOCK = 4  # as quick as one vector: a solve waits for memory
_MAX_BLOCK = 32
_TOLERANCE = 1e-13  # of the value, wanted of the loss in Lehmann's bound


@dataclass(frozen=True)
class Pairs:
    """Approximate eigenpairs, lowest first, the columns of ``vectors`` orthonormal to rounding."""

    values: list[float]
    vectors: Tensor
    residuals: list[float]
    solves: int
    converged: bool
    floor: float = -math.inf  # proved by the factorisation that gave them
    method: str = ""


@dataclass(frozen=True)
class Ends:
    """Enclosed eigenvalues at the lower end of S·K.

    values, lower, upper: of the k smallest; ``bound``: the proof of ``lower``;
    ``estimates``: of the errors of the values, if there is no proof.
    """

    values: list[float]
    lower: list[float]
    upper: list[float]
    vectors: Tensor
    residuals: list[float]
    bound: Bound
    multiplicity: int
    solves: int
    converged: bool
    method: str = ""
    norm: float = 0.0
    estimates: list[float] | None = None


@dataclass
class Engine:
    """The shared state of the steps: the matrix, the panels for its factor, and the progress callback.

    ``afterwards`` bounds the error of a factor from the factor itself (B). It is for devices whose
    triangular solves do not satisfy the error analysis of A.
    """

    source: Source
    panels: Factored
    callback: Callback | None = None
    afterwards: bool = False
    small: int = SMALL

    @cached_property
    def norm(self) -> float:
        """A lower estimate of ‖K‖₂, within a few percent."""
        return norm_estimate(self.source.matmul, self.source.n, self.source.device)

    @cached_property
    def slack(self) -> float:
        """The largest c for which a completed Cholesky factorisation of K proves only λ_min ≥ −c."""
        return shortfall(self.source.diagonal())

    @property
    def rounding(self) -> float:
        """The scale of the rounding error of a computed eigenvalue; not a bound."""
        return 4 * math.sqrt(self.source.n) * U * self.norm

    def stage(self, name: str) -> Stage:
        return Stage(name, self.callback)

    # -- approximate pairs ----------------------------------------------------------------------

    def pairs(self, k: int) -> Pairs:
        """The k smallest pairs and a few more, by inverse Lanczos on the Cholesky factor."""
        if self.source.n <= self.small:
            return self._all_pairs()
        shift, floor = self._factor_base()
        block, start, found = max(_BLOCK, min(k, 8)), None, 0
        while True:
            pairs = self._inverse_lanczos(shift, floor, max(k, found + 1), block, start)
            cluster = self.multiplicity(pairs)
            if cluster < block or block >= min(_MAX_BLOCK, self.source.n // 4):
                return pairs
            # the whole block went into one eigenspace: there may be more of it
            start, block, found = pairs.vectors, min(4 * block, _MAX_BLOCK), cluster

    def _all_pairs(self) -> Pairs:
        n = self.source.n
        K = self.source.block(0, n, 0, n)
        values, vectors = torch.linalg.eigh((K + K.T) / 2)
        residuals = torch.linalg.vector_norm(K @ vectors - vectors * values, dim=0)
        return Pairs(
            values.tolist(), vectors, residuals.tolist(), 0, True, method="LAPACK eigh"
        )  # fmt: skip

    def _factor_base(self) -> tuple[float, float]:
        """Factor K + τI with the smallest τ of a rising sequence for which Cholesky completes."""
        shift, lowest = 0.0, None
        while True:
            shifted = Shifted(self.source, -shift)
            floor = cholesky_bound(shifted, self.panels, self.stage)
            if floor is not None:
                return shift, -math.inf if self.afterwards else floor
            if lowest is None:
                lowest = self._lowest_estimate()
                shift = max(self.slack / 16, -1.25 * lowest)
            else:
                shift *= 6

    def _lowest_estimate(self) -> float:
        """A rough value of a negative λ_min: 30 Lanczos products."""
        n, device = self.source.n, self.source.device
        found = block_lanczos(
            lambda V: -self.source.matmul(V), random_block(n, 1, device),
            lambda values, residuals: bool(residuals[0] <= 1e-3 * values[0].abs()),
            keep=1, max_columns=min(30, n),
        )  # fmt: skip
        return -float(found.values[0])

    def _inverse_lanczos(
        self, shift: float, floor: float, k: int, block: int, start: Tensor | None
    ) -> Pairs:
        n, stage = self.source.n, self.stage("inverse Lanczos")
        first = random_block(n, block, self.source.device)
        if start is not None:
            first[:, : start.shape[1]] = start[:, : first.shape[1]]

        def done(values: Tensor, residuals: Tensor) -> bool:
            usable = values > 0
            lam = (1 / values[usable] - shift).tolist()
            # one more solve will leave ‖Kx − λx‖ = (λ + τ) · residual / value
            res = (residuals[usable] / values[usable] ** 2).tolist()
            return self._good_enough(lam, res, k, block)

        ritz = block_lanczos(
            self.panels.solve, first, done, keep=k + block + 2,
            max_columns=min(_MAX_COLUMNS, n),
            report=lambda residual: stage(0.5, residual),
        )  # fmt: skip
        return self._polished(ritz, shift, floor)

    def _good_enough(self, lam: list[float], res: list[float], k: int, block: int) -> bool:
        noise = self.rounding
        for m in range(k, min(k + block + 2, len(lam))):
            gap = lam[m] - lam[m - 1]
            if gap / 2 <= 2 * self.slack:
                continue
            loss = sum(r * r for r in res[:m]) / (gap / 2)
            if loss <= max(_TOLERANCE * abs(lam[0]), 4 * m * noise * noise / gap):
                return True
        if len(lam) < k + 1:
            return False
        return max(res[:k]) <= max(_TOLERANCE * abs(lam[0]), noise)

    def _polished(self, ritz: Ritz, shift: float, floor: float) -> Pairs:
        """One more solve, which damps the components of large eigenvalues in the Ritz vectors, and a
        Rayleigh-Ritz step with K itself."""
        X = torch.linalg.qr(self.panels.solve(ritz.vectors))[0]
        Y = self.source.matmul(X)
        H = X.T @ Y
        values, turn = torch.linalg.eigh((H + H.T) / 2)
        X, Y = X @ turn, Y @ turn
        residuals = torch.linalg.vector_norm(Y - X * values, dim=0)
        method = "Cholesky + inverse Lanczos"
        if shift > 0:
            method += f" of K + {shift:.2g} I"
        return Pairs(
            values.tolist(), X, residuals.tolist(), ritz.products + X.shape[1],
            ritz.converged, floor, method,
        )  # fmt: skip

    def multiplicity(self, pairs: Pairs) -> int:
        """The number of values within rounding and their residuals of the first."""
        first = pairs.values[0]
        count = 0
        for value, residual in zip(pairs.values, pairs.residuals, strict=True):
            # a Ritz value is off by residual² over a gap, and by no more than the residual
            near = 4 * self.rounding + min(residual, 1e-8 * abs(first))
            if value - first > near:
                break
            count += 1
        return max(1, count)

    # -- with one float64 factorisation ----------------------------------------------------------

    def quick(self, k: int) -> Ends | None:
        """The k smallest with bound C, from a float32 start; None if that does not suffice."""
        if self.source.n <= self.small or self.afterwards or not isinstance(self.panels, Panels):
            return None
        start = single_start(
            self.source, self.panels, k, self.slack + self.source.error, self.stage
        )
        if start is None:
            return None
        m, values = start.size, start.values
        shift = values[m - 1] + 0.25 * (values[m] - values[m - 1])
        sigma = 2 * (shift - values[0])
        deflation: Deflation = (start.vectors[:, :m], sigma)
        bound = cholesky_bound(Shifted(self.source, shift, 1.0, deflation), self.panels, self.stage)
        if bound is None:
            return None

        def enough(lam: list[float], res: list[float]) -> bool:
            gap = bound - max(lam)
            loss = sum(r * r for r in res) / gap if gap > 0 else math.inf
            wanted = max(_TOLERANCE * abs(lam[0]), 4 * m * self.rounding**2 / max(gap, 1e-300))
            return gap > 0 and loss <= wanted

        made = finished(
            self.source, self.panels, start, shift, sigma, enough, self.stage("inverse Lanczos")
        )
        found = None if made is None else rayleigh(self.source, made[1])
        bounds = None if found is None else lehmann(found, bound, self.source.error)
        if made is None or found is None or bounds is None:
            return None
        pairs = Pairs(
            made[0] + values[m:], made[1], made[2] + start.residuals[m:], start.solves + made[3],
            True, method="float32 Cholesky + inverse Lanczos, finished in float64",
        )  # fmt: skip
        return self._ends(pairs, found, k, bounds, Bound.DEFLATED)

    # -- enclosures -----------------------------------------------------------------------------

    def enclose(self, pairs: Pairs, k: int, *, certify: bool, sign: float = 1.0) -> Ends:
        """The k smallest eigenvalues of S·K that ``pairs`` approximate, with bounds."""
        slack = self._expected_slack(sign)
        orders = self._orders(pairs, k, slack) if certify else []
        size = orders[0] if orders else k
        found = rayleigh(self.source, pairs.vectors[:, :size], sign)
        if found is None:
            raise ArithmeticError("the computed eigenvectors are not orthonormal to half a digit")
        error = self.source.error
        bounds: list[float] | None = None
        bound = Bound.DEFLATED
        if orders:
            bounds = self._deflated(pairs, found, size, slack, sign)
        if bounds is None and certify:
            bounds, bound = self._shifted(found, k, slack, sign)
        if bounds is None:
            bound = Bound.FACTORED if pairs.floor > -math.inf else Bound.NONE
            bounds = [down_to(pairs.floor - error)] * k
        return self._ends(pairs, found, k, bounds, bound)

    def _ends(
        self, pairs: Pairs, found: Rayleigh, k: int, bounds: list[float], bound: Bound
    ) -> Ends:
        error = self.source.error
        upper = [up_to(found.values[i] + up(found.errors[i] + error)) for i in range(k)]
        upper[0] = min(upper[0], up_to(found.upper + error))
        vectors = pairs.vectors[:, found.order[:k]]
        return Ends(
            values=found.values[:k],
            lower=[max(b, down_to(pairs.floor - error)) for b in bounds[:k]],
            upper=upper,
            vectors=vectors / torch.linalg.vector_norm(vectors, dim=0),
            residuals=found.residuals[:k],
            bound=bound,
            multiplicity=self.multiplicity(pairs),
            solves=pairs.solves,
            converged=pairs.converged,
            method=pairs.method,
            norm=self.norm,
        )

    def _expected_slack(self, sign: float) -> float:
        if sign > 0:
            slack = self.slack
        else:
            n = self.source.n
            slack = shortfall(torch.full((n,), self.norm, dtype=torch.float64))
        # what is measured afterwards has been far below the bound; half of it is safe to plan with
        return slack / 2 if self.afterwards else slack

    def _orders(self, pairs: Pairs, k: int, slack: float) -> list[int]:
        """Numbers of vectors to deflate, the best first: those followed by a gap that a
        Cholesky factorisation can prove."""
        losses: dict[int, float] = {}
        for m in range(k, min(len(pairs.values), k + _MAX_BLOCK)):
            top, gap = pairs.values[m - 1], pairs.values[m] - pairs.values[m - 1]
            if gap / 2 > 2 * slack + 2 * self.source.error:
                size = math.sqrt(sum(r * r for r in pairs.residuals[:m])) + self.source.error
                losses[m] = size * size / (gap / 2) + 16 * m * U * abs(top)
                if losses[m] <= _TOLERANCE * abs(pairs.values[0]):
                    return [m]
        return sorted(losses, key=lambda m: losses[m])

    def _deflated(
        self, pairs: Pairs, found: Rayleigh, m: int, slack: float, sign: float
    ) -> list[float] | None:
        """Bound C: λ_{m+1} ≥ ν from the matrix without its m lowest eigenvectors."""
        top, above = pairs.values[m - 1], pairs.values[m]
        for part in (0.5, 0.125):
            shift = top + part * (above - top)
            if shift - slack <= top:
                return None
            deflation: Deflation = (pairs.vectors[:, :m], 2 * (shift - pairs.values[0]))
            shifted = Shifted(self.source, shift, sign, deflation)
            bound = cholesky_bound(shifted, self.panels, self.stage, afterwards=self.afterwards)
            if bound is not None:
                return lehmann(found, bound, self.source.error)
        return None

    def _shifted(
        self, found: Rayleigh, k: int, slack: float, sign: float
    ) -> tuple[list[float] | None, Bound]:
        """Bounds A and B: K − sI is positive definite up to the error of its factorisation."""
        value = min(found.values)
        for margin in (1.1 * slack, 4 * slack, 4 * slack + 2 * found.residuals[0]):
            shifted = Shifted(self.source, value - margin - 8 * U * self.norm, sign)
            bound = cholesky_bound(shifted, self.panels, self.stage, afterwards=self.afterwards)
            if bound is not None:
                return [down_to(bound - self.source.error)] * k, (
                    Bound.MEASURED if self.afterwards else Bound.SHIFTED
                )
        return None, Bound.NONE
