"""Where eigenvalues lie, by elimination in ball arithmetic; exact fractions where balls stay open."""

from __future__ import annotations

from flint import arb, ctx, fmpq

from oracles import inertia

_PRECISIONS = (120, 480, 1920)


def signs(matrix: list[list[fmpq]], shift: float) -> list[int] | None:
    """The signs of the pivots of K − shift·I; None where a ball contains 0 at every precision."""
    n, before = len(matrix), ctx.prec
    try:
        for ctx.prec in _PRECISIONS:
            A = [[arb(x.p) / x.q - (arb(shift) if i == j else 0) for j, x in enumerate(row)]
                 for i, row in enumerate(matrix)]  # fmt: skip
            found = []
            for k in range(n):
                pivot = A[k][k]
                if pivot.contains(0):
                    break
                found.append(1 if pivot > 0 else -1)
                for i in range(k + 1, n):
                    factor = A[i][k] / pivot
                    for j in range(i, n):
                        A[i][j] = A[j][i] = A[i][j] - factor * A[k][j]
            else:
                return found
    finally:
        ctx.prec = before
    return None


def at_least(matrix: list[list[fmpq]], shift: float) -> bool:
    """λ_min ≥ shift."""
    found = signs(matrix, shift)
    return inertia.at_least(matrix, shift) if found is None else min(found) > 0


def at_most(matrix: list[list[fmpq]], shift: float) -> bool:
    """λ_min ≤ shift."""
    found = signs(matrix, shift)
    return inertia.at_most(matrix, shift) if found is None else min(found) < 0


def count_below(matrix: list[list[fmpq]], shift: float) -> int | None:
    """How many eigenvalues lie below ``shift``; None where one is there."""
    found = signs(matrix, shift)
    return inertia.count_below(matrix, shift) if found is None else found.count(-1)
