"""Linear forms of neurons in whole numbers: what decides a sign that rounding leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

Vector = tuple[int, int]


def sign(x: float | int | Fraction) -> int:
    """−1, 0 or 1."""
    return (x > 0) - (x < 0)


def determinant(a: Vector, b: Vector) -> int:
    """a_1 b_2 − a_2 b_1: positive where b lies counter-clockwise of a."""
    return a[0] * b[1] - a[1] * b[0]


def common_scale(numbers: Sequence[float]) -> int:
    """The power of two that makes all of these floats whole numbers."""
    return max((x.as_integer_ratio()[1] for x in numbers), default=1)


def _times(x: float, scale: int) -> int:
    above, below = x.as_integer_ratio()
    return above * (scale // below)


class WholeNumbers:
    """The map's weights as whole numbers, layer by layer, each times a power of two."""

    def __init__(
        self, matrices: Sequence[Tensor], slopes: Sequence[float], residual: float
    ) -> None:
        self._rows: list[list[list[int]]] = []
        self._scales: list[int] = []
        for matrix in matrices:
            entries = matrix.tolist()
            scale = common_scale([x for row in entries for x in row])
            self._scales.append(scale)
            self._rows.append([[_times(x, scale) for x in row] for row in entries])
        # α is part of the slopes, whose common factor joins the layer's
        factors = [Fraction(s) * Fraction(residual if residual else 1.0) for s in slopes]
        self._slope_scale = max(f.denominator for f in factors)
        self._slopes = [int(f * self._slope_scale) for f in factors]
        self._residual = bool(residual)
        self._features: dict[bytes, list[Vector]] = {}

    def form(self, patterns: Sequence[Tensor], neuron: int) -> Vector:
        """The form of a neuron of layer len(patterns) where the layers before have these patterns."""
        features = self._features_of(tuple(patterns))
        rows = self._rows[len(patterns)]
        return self._combine(features, rows, neuron)

    @staticmethod
    def _combine(features: list[Vector], rows: list[list[int]], neuron: int) -> Vector:
        x = y = 0
        for feature, row in zip(features, rows, strict=True):
            if feature != (0, 0):
                x += feature[0] * row[neuron]
                y += feature[1] * row[neuron]
        return x, y

    def _features_of(self, patterns: tuple[Tensor, ...]) -> list[Vector]:
        """f of the last layer of ``patterns``, times the product of the scales so far."""
        if not patterns:
            return [(1, 0), (0, 1)]
        key = b"".join(p.numpy().tobytes() for p in patterns)
        if key not in self._features:
            below = self._features_of(patterns[:-1])
            at = len(patterns) - 1
            lift = self._scales[at] * self._slope_scale
            made: list[Vector] = []
            for neuron, positive in enumerate(patterns[-1].tolist()):
                slope = self._slopes[int(positive)]
                form = self._combine(below, self._rows[at], neuron) if slope else (0, 0)
                x, y = form[0] * slope, form[1] * slope
                if self._residual:
                    x, y = x + below[neuron][0] * lift, y + below[neuron][1] * lift
                made.append((x, y))
            self._features[key] = made
        return self._features[key]
