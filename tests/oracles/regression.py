"""Kernel ridge regression by its definition: fit, leave one out, fit again; exact in fractions."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


def fitted(K: Tensor, y: Tensor, cross: Tensor, ridge: float) -> Tensor:
    """k(x, X) (K + ridge)⁻¹ y, by a dense solve."""
    eye = torch.eye(len(K), dtype=torch.float64)
    return cross @ torch.linalg.solve(K + ridge * eye, y)


def refitted(K: Tensor, y: Tensor, cross: Tensor, ridge: float, out: list[int]) -> Tensor:
    """The same without the rows ``out``."""
    rows = [i for i in range(len(K)) if i not in out]
    return fitted(K[rows][:, rows], y[rows], cross[:, rows], ridge)


def solve_exactly(A: list[list[Fraction]], b: list[Fraction]) -> list[Fraction]:
    """A⁻¹ b by elimination, without rounding."""
    rows = [[*row, value] for row, value in zip(A, b, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(n):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [a - factor * c for a, c in zip(rows[k], rows[i], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]


def left_out_exactly(K: Tensor, y: Tensor, ridge: float) -> list[Fraction]:
    """y_i − f₋ᵢ(x_i) of the numbers that K, y and ridge hold, without rounding."""
    A = [[Fraction(v) for v in row] for row in K.tolist()]
    values, found = [Fraction(v) for v in y.tolist()], []
    for i in range(len(A)):
        rest = [k for k in range(len(A)) if k != i]
        inner = [[A[j][k] + (Fraction(ridge) if j == k else 0) for k in rest] for j in rest]
        a = solve_exactly(inner, [values[k] for k in rest])
        found.append(values[i] - sum(A[i][k] * w for k, w in zip(rest, a, strict=True)))
    return found
