"""Where the eigenvalues of a symmetric matrix of float64 numbers lie, in exact rational arithmetic."""

from __future__ import annotations

from flint import fmpq


def rational(x: float) -> fmpq:
    return fmpq(*float(x).as_integer_ratio())


def exact(matrix) -> list[list[fmpq]]:
    """Every float as the rational number it is."""
    return [[rational(x) for x in row] for row in matrix.tolist()]


def exact_kernel(kernel) -> list[list[fmpq]]:
    """Σ_t s_t (F_t F_tᵀ) ∘ (B_t B_tᵀ) of the stored factors, without rounding."""
    n = kernel.shape[0]
    total = [[fmpq(0)] * n for _ in range(n)]
    for term in kernel.terms:
        grams = []
        for factor in term.factors:
            rows = exact(factor.rows)
            grams.append([[sum((a * b for a, b in zip(x, y, strict=True)), fmpq(0)) for y in rows]
                          for x in rows])  # fmt: skip
        scale = rational(term.scale)
        for i in range(n):
            for j in range(n):
                product = scale
                for gram in grams:
                    product *= gram[i][j]
                total[i][j] += product
    return total


def pivots(matrix: list[list[fmpq]], shift: float | fmpq) -> list[fmpq]:
    """The pivots of K − shift·I under elimination without exchanges, up to the first that is 0."""
    n = len(matrix)
    s = shift if isinstance(shift, fmpq) else rational(shift)
    A = [[matrix[i][j] - (s if i == j else 0) for j in range(n)] for i in range(n)]
    found = []
    for k in range(n):
        pivot = A[k][k]
        found.append(pivot)
        if pivot == 0:
            break
        for i in range(k + 1, n):
            factor = A[i][k] / pivot
            if factor != 0:
                for j in range(k + 1, n):
                    A[i][j] -= factor * A[k][j]
    return found


def at_least(matrix: list[list[fmpq]], shift: float | fmpq) -> bool:
    """λ_min ≥ shift. A zero pivot is settled by its column, which elimination keeps in place."""
    n = len(matrix)
    s = shift if isinstance(shift, fmpq) else rational(shift)
    A = [[matrix[i][j] - (s if i == j else 0) for j in range(n)] for i in range(n)]
    for k in range(n):
        pivot = A[k][k]
        if pivot < 0:
            return False
        if pivot == 0:
            if any(A[i][k] != 0 for i in range(k + 1, n)):
                return False
            continue
        for i in range(k + 1, n):
            factor = A[i][k] / pivot
            if factor != 0:
                for j in range(k + 1, n):
                    A[i][j] -= factor * A[k][j]
    return True


def at_most(matrix: list[list[fmpq]], shift: float | fmpq) -> bool:
    """λ_min ≤ shift: K − shift·I is not positive definite."""
    found = pivots(matrix, shift)
    return any(p <= 0 for p in found)


def count_below(matrix: list[list[fmpq]], shift: float | fmpq) -> int | None:
    """How many eigenvalues lie below ``shift`` (Sylvester); None where a pivot is 0."""
    found = pivots(matrix, shift)
    if found[-1] == 0:
        return None
    return sum(p < 0 for p in found)
