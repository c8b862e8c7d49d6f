"""Upper bounds on λ_max that need no factorisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ntkscope.spectra.rounding import U, up
from ntkscope.spectra.storage.source import Source

_ROWS = 256


def norm_bounds(source: Source) -> dict[str, float]:
    """Bounds on λ_max of the matrix that is covered, by name; none for an operator.

    ``trace``, for a positive semidefinite matrix: the matrix that is read has no eigenvalue below −error, so
    its largest is at most tr K + n·error. ``Frobenius``: ‖K‖_F. ``Gershgorin``: max_i Σ_j |K_ij|.
    Sums of n terms are increased by n u.
    """
    if source.operator:
        return {}
    n, found = source.n, {}
    if source.semidefinite:
        trace = math.fsum(source.diagonal().tolist())
        found["trace"] = up(max(trace, 0.0) + (n + 1) * source.error)
    squares = widest = 0.0
    for i in range(0, n, _ROWS):
        rows = source.rows(i, min(i + _ROWS, n))
        squares += float(torch.linalg.vector_norm(rows)) ** 2
        widest = max(widest, float(rows.abs().sum(1).max()))
    raised = 1 + (2 * n + _ROWS) * U
    found["Frobenius"] = up(math.sqrt(squares) * raised + source.error)
    found["Gershgorin"] = up(widest * raised + source.error)
    return found


def trace_bound(values: Sequence[float], residuals: Sequence[float], trace: float) -> float:
    """λ_max of a positive semidefinite matrix of ``trace``, from Ritz pairs at its upper end.

    Ritz values θ_1 ≥ … of orthonormal vectors with residuals ‖Kq_i − θ_i q_i‖ have m eigenvalues
    within R = ‖KQ − QΘ‖ of the first m of them (Kahan; Parlett, The Symmetric Eigenvalue Problem,
    Theorem 11.5.1). λ_max is the largest of these or, since no eigenvalue is negative, at most the trace less
    their sum: λ_max ≤ max(θ_1 + R, tr K − Σ_{i≤m} θ_i + m R), for every m.
    """
    best, taken, squares = up(trace), 0.0, 0.0
    for m, (theta, residual) in enumerate(zip(values, residuals, strict=True), 1):
        taken += theta
        squares += residual * residual
        size = up(math.sqrt(squares))
        rounding = 4 * (m + 2) * U * trace
        best = min(best, up(max(values[0] + size, trace - taken + m * size) + rounding))
    return best
