"""φ and φ′ in ball arithmetic: formulas on balls, real or complex, that name no library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# of a ball (real, or complex inside an integral), and whether the caller needs it analytic
Function = Callable[[Any, bool], Any]


@dataclass(frozen=True)
class BallActivation:
    """φ and φ′, each by its formula left and right of 0 (one formula where φ is smooth).

    slope, at_zero: numbers that |φ′| and |φ(0)| never exceed.
    """

    formula: tuple[Function, ...]
    derivative: tuple[Function, ...]
    slope: float
    at_zero: float = 0.0

    def value(self, z: Any) -> Any:
        """φ of a real ball."""
        return _by_side(self.formula, z)

    def prime(self, z: Any) -> Any:
        """φ′ of a real ball; at a kink any value between its sides."""
        return _by_side(self.derivative, z)


def _by_side(sides: tuple[Function, ...], z: Any) -> Any:
    below, above = sides[0](z, False), sides[-1](z, False)
    if len(sides) == 1 or z > 0:
        return above
    return below if z < 0 else below.union(above)


def smooth(
    formula: Function, derivative: Function, slope: float, at_zero: float = 0.0
) -> BallActivation:
    """φ of one formula."""
    return BallActivation((formula,), (derivative,), slope, at_zero)


def broken(below: float) -> BallActivation:
    """Slope ``below`` left of 0 and 1 right of it."""
    left, right = linear(below), linear(1.0)
    return BallActivation((left[0], right[0]), (left[1], right[1]), max(1.0, abs(below)))


def linear(slope: float) -> tuple[Function, Function]:
    """z ↦ slope·z and its derivative."""
    return (lambda z, _: z * slope), (lambda z, _: z * 0 + slope)


def sigmoid(z: Any) -> Any:
    """1/(1 + e^{−z})."""
    return 1 / (1 + (-z).exp())


def normal_density(z: Any) -> Any:
    """e^{−z²/2}/√(2π)."""
    return (-z * z / 2).exp() / (2 * type(z).pi()).sqrt()


def normal_cdf(z: Any) -> Any:
    """Φ(z)."""
    return (1 + (z / type(z)(2).sqrt()).erf()) / 2
