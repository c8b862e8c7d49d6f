"""A number with what is known of its error, so that an inequality can be judged honestly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from ntkscope.spectra.eigenvalue import Eigenvalue, Status

U = 2.0**-53  # unit roundoff of float64
_UP = 1 + 2.0**-49  # more than the few roundings of an error's own formula


@dataclass(frozen=True)
class Quantity:
    """A value, a bound on its rounding error, and its standard error where it was sampled.

    Sums and products carry both along (first order for the standard error, added and not in
    quadrature, since the parts may depend on each other).
    """

    value: float
    error: float = 0.0
    spread: float = 0.0

    def __float__(self) -> float:
        return self.value

    def __add__(self, other: Quantity | SupportsFloat) -> Quantity:
        b = quantity(other)
        value = self.value + b.value
        error = (self.error + b.error + U * abs(value)) * _UP
        return Quantity(value, error, self.spread + b.spread)

    __radd__ = __add__

    def __neg__(self) -> Quantity:
        return Quantity(-self.value, self.error, self.spread)

    def __sub__(self, other: Quantity | SupportsFloat) -> Quantity:
        return self + (-quantity(other))

    def __rsub__(self, other: SupportsFloat) -> Quantity:
        return quantity(other) - self

    def __mul__(self, other: Quantity | SupportsFloat) -> Quantity:
        b = quantity(other)
        value = self.value * b.value
        error = abs(self.value) * b.error + abs(b.value) * self.error + self.error * b.error
        spread = abs(self.value) * b.spread + abs(b.value) * self.spread
        return Quantity(value, (error + U * abs(value)) * _UP, spread)

    __rmul__ = __mul__

    def __truediv__(self, other: Quantity | SupportsFloat) -> Quantity:
        b = quantity(other)
        low = abs(b.value) - b.error
        if low <= 0:
            return Quantity(math.nan, math.inf)
        value = self.value / b.value
        error = (self.error + abs(value) * b.error) / low + 2 * U * abs(value)
        return Quantity(value, error * _UP, (self.spread + abs(value) * b.spread) / low)

    def __pow__(self, exponent: int) -> Quantity:
        result = Quantity(1.0)
        for _ in range(exponent):
            result = result * self
        return result

    def sqrt(self) -> Quantity:
        """The square root; a value that rounding took below 0 counts as 0."""
        root = math.sqrt(max(self.value, 0.0))
        if root == 0.0:
            return Quantity(0.0, math.sqrt(self.error) * _UP, math.sqrt(self.spread))
        return Quantity(root, (self.error / root + U * root) * _UP, self.spread / (2 * root))


def quantity(x: Quantity | Eigenvalue | SupportsFloat) -> Quantity:
    """``x`` as a Quantity.

    An :class:`Eigenvalue` brings its interval, and is exactly 0 where the rank makes it so; a
    plain number is taken as exact.
    """
    if isinstance(x, Quantity):
        return x
    if isinstance(x, Eigenvalue):
        if x.status is Status.RANK_DEFICIENT:
            return Quantity(0.0)
        return Quantity(x.value, x.error)
    return Quantity(float(x))


def rounded(x: SupportsFloat, length: int, scale: SupportsFloat | None = None) -> Quantity:
    """A computed number whose rounding error is at most ``length``·u·``scale`` (default |x|)."""
    value = float(x)
    size = abs(value) if scale is None else abs(float(scale))
    return Quantity(value, length * U * size)


def smallest(items: Iterable[Quantity]) -> Quantity:
    """The minimum; its error is the largest of the items' errors."""
    return _extreme(list(items), min)


def largest(items: Iterable[Quantity]) -> Quantity:
    """The maximum; its error is the largest of the items' errors."""
    return _extreme(list(items), max)


def _extreme(items: list[Quantity], choose: Any) -> Quantity:
    return Quantity(
        choose(q.value for q in items), max(q.error for q in items), max(q.spread for q in items)
    )


def sample_mean(values: Tensor) -> Quantity:
    """The mean of independent draws, with its standard error."""
    v = values.to(torch.float64)
    n = len(v)
    spread = float(v.std()) / math.sqrt(n) if n > 1 else math.inf
    return Quantity(float(v.mean()), n * U * float(v.abs().mean()), spread)
