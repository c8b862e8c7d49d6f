"""Products of stored matrices with a bound on their rounding error, carried along entry by entry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.lipschitz.maps import FeatureMap

U = 2.0**-53
# below this a product of two entries might have lost digits to underflow
SMALLEST = 2.0**-900


def gamma(n: int) -> float:
    """γ_n = n u/(1 − n u), the relative error of n operations in any order (Higham 2002, §3.1)."""
    return n * U / (1 - n * U)


@dataclass(frozen=True, eq=False)
class Enclosed:
    """A tensor and a bound on the error of each of its entries, both float64."""

    value: Tensor
    error: Tensor

    @classmethod
    def exact(cls, value: Tensor) -> Enclosed:
        return cls(value.double(), torch.zeros_like(value, dtype=torch.float64))

    def times(self, matrix: Tensor) -> Enclosed:
        """``value @ matrix`` for a matrix that is exact as stored.

        |fl(xV) − xV| ≤ γ_n |x||V| + e_x|V|; the bound is a sum of n + 2 non-negative terms and
        is raised by its own rounding.
        """
        n = matrix.shape[0]
        sizes = self.value.abs() * gamma(n) + self.error
        bound = (sizes @ matrix.abs()) * (1 + gamma(2 * n + 8))
        return Enclosed(self.value @ matrix, bound)

    def scaled(self, factor: Tensor) -> Enclosed:
        """Entrywise product with exact factors; exact where a factor is 0 or ±1."""
        value = self.value * factor
        rounding = torch.where((factor == 0) | (factor.abs() == 1), 0.0, value.abs() * U)
        return Enclosed(value, (self.error * factor.abs() + rounding) * (1 + 8 * U))

    def multiplied(self, other: Enclosed) -> Enclosed:
        """Entrywise product."""
        value = self.value * other.value
        error = self.error * (other.value.abs() + other.error) + self.value.abs() * other.error
        return Enclosed(value, (error + value.abs() * U) * (1 + 8 * U))

    def plus(self, other: Enclosed) -> Enclosed:
        """The sum."""
        value = self.value + other.value
        exact = (self.value == 0) | (other.value == 0)
        rounding = torch.where(exact, 0.0, value.abs() * U)
        return Enclosed(value, (self.error + other.error + rounding) * (1 + 8 * U))

    def select(self, index: Tensor) -> Enclosed:
        """Entries along the first axis."""
        return Enclosed(self.value[index], self.error[index])

    def norm(self) -> tuple[float, float]:
        """The largest spectral norm over the leading axes, enclosed.

        ‖E‖ ≤ ‖E‖_F on both sides, and the backward error of the singular value solver, for which
        8(m + n) u ‖·‖_F is taken.
        """
        found = torch.linalg.matrix_norm(self.value, 2)
        size = torch.linalg.matrix_norm(self.value, "fro")
        away = torch.linalg.matrix_norm(self.error, "fro") * (1 + gamma(self.error[0].numel() + 8))
        bar = away + 8 * sum(self.value.shape[-2:]) * U * size
        return max(0.0, float((found - bar).max())), float(((found + bar) * (1 + 4 * U)).max())


def underflows(feature_map: FeatureMap) -> bool:
    """Whether entries so small occur that bounds without underflow could fail."""
    smallest = 1.0
    for matrix in feature_map.matrices:
        sizes = matrix.double().abs()
        sizes = sizes[sizes > 0]
        if len(sizes):
            smallest *= min(1.0, float(sizes.min()))
    alpha = abs(feature_map.residual)
    return smallest * (min(1.0, alpha) if alpha else 1.0) ** feature_map.hidden < SMALLEST


def slopes_beside_zero(feature_map: FeatureMap) -> Tensor:
    """(φ′(−1), φ′(1)) of a positively homogeneous φ: the slopes of an inactive and an active neuron."""
    return feature_map.activation.derivative(torch.tensor([-1.0, 1.0], dtype=torch.float64))
