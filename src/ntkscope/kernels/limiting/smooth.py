"""The wide limit for any activation: every layer carries variances and correlations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import Quadrature
from ntkscope.kernels.limiting.directions import positions
from ntkscope.kernels.limiting.recursion import Layer, Scales
from ntkscope.kernels.limiting.series import Expansion

Index = slice | Tensor


@dataclass(eq=False)
class _Level:
    """One layer for all samples, X's and then X2's: variances, their roots, E φ², E φ′², E φ."""

    variance: Tensor
    root: Tensor
    moment: Tensor
    slope: Tensor
    mean: Tensor | None
    value: Expansion | None
    derivative: Expansion | None


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
            return _Level(variance, torch.sqrt(variance), moment, slope, mean, None, None)
        moments = [Quadrature(self.phi, d).moments(variance) for d in (False, True)]
        for _, error in moments:
            if error > self.accuracy and error > 1e-14:
                raise ValueError(
                    f"E φ² of {self.phi} is known to {error:.2g} only; if it has kinks, name them "
                    f"in activations.custom(..., kinks=...), or ask for accuracy={2 * error:.1g}"
                )
        expansions = [Expansion(self.phi, variance, d, self.accuracy) for d in (False, True)]
        return _Level(
            variance, torch.sqrt(variance), moments[0][0], moments[1][0], mean, *expansions
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


def _count(index: Index, samples: Tensor) -> Tensor:
    size = len(samples)
    if isinstance(index, slice):
        return torch.arange(len(range(*index.indices(size))), device=samples.device)
    return torch.arange(len(index), device=samples.device)
