"""The textbook loops in float64, one operation after another, and γ_n as the fraction it is.

Each is one of the orders of summation that the error bounds allow, and the one that loses most.
"""

from __future__ import annotations

import math
from fractions import Fraction

U = Fraction(1, 2**53)


def gamma(n: int) -> Fraction:
    """γ_n = n u/(1 − n u)."""
    return n * U / (1 - n * U)


def fractions(values) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


def dot(x, y) -> float:
    """Σ x_i y_i from left to right."""
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += a * b
    return total


def cholesky(A) -> list[list[float]] | None:
    """L, row by row, each entry reduced from left to right; None at a pivot that is not positive."""
    n = len(A)
    L = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            value = A[i][j]
            for k in range(j):
                value -= L[i][k] * L[j][k]
            if i > j:
                L[i][j] = value / L[j][j]
            elif value > 0:
                L[i][i] = math.sqrt(value)
            else:
                return None
    return L


def lost(n: int) -> list[float]:
    """1 and n − 1 numbers whose squares a sum that stands at 1 does not notice, each almost u."""
    return [1.0] + [math.sqrt(0.999 * float(U))] * (n - 1)
