"""The wide limit for any activation: every layer carries variances and correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import Quadrature
from ntkscope.kernels.limiting.directions import positions
from ntkscope.kernels.limiting.error import LayerError, U
from ntkscope.kernels.limiting.recursion import Layer, Scales
from ntkscope.kernels.limiting.series import MAX_ORDER, Expansion

Index = slice | Tensor


@dataclass(eq=False)
class _Level:
    """One layer for all samples, X's and then X2's: variances, their roots, E φ², E φ′², E φ."""

    variance: Tensor
    root: Tensor
    moment: Tensor
    slope: Tensor
    mean: Tensor | None
    error: float = 0.0  # relative, of the moments by quadrature
    value: Expansion | None = None
    derivative: Expansion | None = None


class SmoothChain:
    """Layers of Gram tiles through dual activations, closed or by their Hermite series."""

    def __init__(
        self,
        scales: Scales,
        phi: Activation,
        X: Tensor,
        X2: Tensor | None,
        width: float,
        accuracy: float,
    ) -> None:
        self.scales, self.phi, self.width, self.accuracy = scales, phi, width, accuracy
        self.left, self.right = X, X if X2 is None else X2
        self.offset = 0 if X2 is None else len(X)
        samples = X if X2 is None else torch.cat([X, X2])
        self.closed = phi.dual
        self.first = torch.linalg.vecdot(samples, samples) * scales.input
        self.total = samples.sum(1) * scales.input if scales.residual else None
        self.levels: list[_Level] = []
        self.features = [self.first]  # A_l(i,i)
        self.totals: list[Tensor] = [] if self.total is None else [self.total]
        self._build()

    def _build(self) -> None:
        scales = self.scales
        value = self.first
        for n, beta_sq in zip(scales.sizes, scales.betas_sq, strict=False):
            level = self._level(beta_sq * value + scales.bias_var)
            self.levels.append(level)
            if level.mean is None:
                value = n * level.moment
            else:
                alpha, total = scales.residual, self.totals[-1]
                value = value + alpha**2 * n * level.moment + 2 * alpha * total * level.mean
                self.totals.append(total + alpha * self.width * level.mean)
            self.features.append(value)

    def _level(self, variance: Tensor) -> _Level:
        if not bool(torch.isfinite(variance).all()):
            raise ValueError(
                "the variance of a layer overflows on these data; scale the rows of X down"
            )
        mean = None
        if self.scales.residual:
            mean = Quadrature(self.phi).coefficients(variance, 0).values[:, 0]
        if self.closed is not None:
            moment, slope = self.closed(variance, variance, torch.zeros_like(variance))
            return _Level(variance, torch.sqrt(variance), moment, slope, mean)
        moments = [Quadrature(self.phi, d).moments(variance) for d in (False, True)]
        for _, error in moments:
            if error > self.accuracy and error > 1e-14:
                raise ValueError(
                    f"E φ² of {self.phi} is known to {error:.2g} only; if it has kinks, name them "
                    f"in activations.custom(..., kinks=...), or ask for accuracy={2 * error:.1g}"
                )
        expansions = [Expansion(self.phi, variance, d, self.accuracy) for d in (False, True)]
        worst = max(error for _, error in moments)
        return _Level(
            variance, torch.sqrt(variance), moments[0][0], moments[1][0], mean, worst, *expansions
        )

    def tile(self, rows: Index, cols: Index) -> Iterator[Layer]:
        """A_0, then (Ė^l, A_l) for l = 1, …, L−1."""
        scales = self.scales
        i = positions(rows, _count(rows, self.left))
        j = positions(cols, _count(cols, self.right)) + self.offset
        features = (self.left[rows] @ self.right[cols].T).mul_(scales.input)
        yield Layer(features, None)
        own = torch.nonzero(i[:, None] == j[None, :])
        for index, (n, level) in enumerate(zip(scales.sizes, self.levels, strict=True)):
            covariance = features * scales.betas_sq[index]
            if scales.bias_var:
                covariance += scales.bias_var
            # a sample with itself has ρ = 1, the longest series of all; diagonal() has its value
            covariance[own[:, 0], own[:, 1]] = 0.0
            value, slope = self._dual(level, covariance, i, j)
            if level.mean is None:
                features = value.mul_(n) if n != 1.0 else value
            else:
                alpha, total, mean = scales.residual, self.totals[index], level.mean
                features = features + alpha**2 * n * value
                features.addcmul_(total[i, None], mean[j][None, :], value=alpha)
                features.addcmul_(mean[i, None], total[j][None, :], value=alpha)
            yield Layer(features, slope)

    def _dual(
        self, level: _Level, covariance: Tensor, i: Tensor, j: Tensor
    ) -> tuple[Tensor, Tensor]:
        inverse = torch.where(level.root > 0, 1.0 / level.root, 0.0)
        rho = covariance.mul_(inverse[i, None]).mul_(inverse[j][None, :])
        if self.closed is not None:
            a, b = level.variance[i, None], level.variance[j][None, :]
            # rounding takes a near-duplicate's correlation past 1 by a few u, where 1 − ρ² < 0
            delta = torch.sub(1.0, rho, out=rho).clamp_(0.0, 2.0)
            return self.closed(a, b, delta)
        assert level.value is not None
        assert level.derivative is not None
        return level.value.tile(rho, i, j), level.derivative.tile(rho, i, j)

    def diagonal(self) -> Iterator[Layer]:
        """The layers on the diagonal of X, by one-dimensional integrals."""
        n = len(self.left)
        yield Layer(self.features[0][:n], None)
        for level, value in zip(self.levels, self.features[1:], strict=True):
            yield Layer(value[:n], level.slope[:n])

    def errors(self) -> Iterator[LayerError]:
        """What the layers of :meth:`tile` and :meth:`diagonal` are wrong by.

        A covariance that is wrong by τ √(C_ii C_jj) moves E φφ by Price's theorem by at most
        τ (G + √(GH)) √(E φ² E φ²), G = C E φ′²/E φ² and H = C E φ″²/E φ′², and E φ′φ′ by
        τ (H + √B), B = E (uφ″(u))²/E φ′²: its derivatives are C E φ′φ′, C E φ″φ and so on, each
        bounded by Cauchy and Schwarz. On top come the truncation, the coefficients and Horner's
        rule, or the rounding of the closed form.
        """
        scales, d = self.scales, self.left.shape[1]
        tau = (d + 6) * U
        yield LayerError(tau, 0.0)
        for index, level in enumerate(self.levels):
            value, slope, spread = self._sensitivities(level)
            seen = tau + 8 * U
            own = (self._series_error(level, False, value), self._series_error(level, True, slope))
            tau = seen * (value + math.sqrt(value * slope)) + own[0]
            if scales.residual:
                # A + α² n E φφ + α(M μᵀ + μ Mᵀ) may be smaller than its parts
                tau = self._cancellation(index) * 2 * (max(tau, seen) + (d + 4) * U)
            yield LayerError(tau, seen * (slope + spread) + own[1])

    def _sensitivities(self, level: _Level) -> tuple[float, float, float]:
        """The largest G, H and √B of a layer's samples."""
        a = level.variance
        alive = a > 0
        if not bool(alive.any()):
            return 0.0, 0.0, 0.0
        a, slope = a[alive], level.slope[alive]
        value = float((a * slope / level.moment[alive]).max())
        if self.phi.kinks:
            # φ″ has no second moment; a series of R terms changes by R times as much at most
            return value, float(MAX_ORDER), float(MAX_ORDER)
        second = self.phi.second
        bent, spread = (
            Quadrature(replace(self.phi, phi=f)).moments(a)[0] / slope
            for f in (second, lambda z: z * second(z))
        )
        return value, float((a * bent).max()), math.sqrt(float(spread.max()))

    def _series_error(self, level: _Level, derivative: bool, sensitivity: float) -> float:
        """Of the sum itself: Horner's rule costs 2 r u at the r-th term, and Σ r α_r² is G (or H)."""
        expansion = level.derivative if derivative else level.value
        if expansion is None:
            # erf, GELU: a few tens of operations; sin: exponents of the size of the variance
            return (64 + 16 * float(level.variance.max())) * U
        rounding = (4 * min(sensitivity, MAX_ORDER) + 16) * U
        return expansion.error() + level.error + rounding

    def _cancellation(self, index: int) -> float:
        """max (A + α² n E φ² + 2|α| M |μ|) / A_l, M the sum of what the means are added up from."""
        level, before, after = self.levels[index], self.features[index], self.features[index + 1]
        assert level.mean is not None
        alpha, n = abs(self.scales.residual), self.scales.sizes[index]
        samples = self.left if self.offset == 0 else torch.cat([self.left, self.right])
        mass = samples.abs().sum(1) * self.scales.input
        for earlier in self.levels[:index]:
            assert earlier.mean is not None
            mass = mass + alpha * self.width * earlier.mean.abs()
        parts = before + alpha**2 * n * level.moment + 2 * alpha * mass * level.mean.abs()
        alive = after > 0
        return float((parts[alive] / after[alive]).max()) if bool(alive.any()) else 1.0


def _count(index: Index, samples: Tensor) -> Tensor:
    size = len(samples)
    if isinstance(index, slice):
        return torch.arange(len(range(*index.indices(size))), device=samples.device)
    return torch.arange(len(index), device=samples.device)
