"""Ball-arithmetic confirmers of the claims that several papers make, by their shared keys."""

from __future__ import annotations

from typing import Any

from ntkscope._base import balls
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    Unproved,
    diagonal,
    largest_of,
    row_norms_sq,
    smallest_of,
)
from ntkscope.statements.paper import SHARED, Confirmer


def _least_diagonal(b: BallInstance) -> tuple[Any, Any]:
    """λ_min(K) ≤ min_i K_ii."""
    return b.lambda_K, smallest_of(diagonal(b.K))


def _first_diagonal(b: BallInstance) -> tuple[Any, Any]:
    """λ_min(K) ≤ K_11."""
    return b.lambda_K, b.K[0, 0]


def schur_bound(b: BallInstance, k: int) -> Any:
    """λ_min(F_kF_kᵀ) min‖B_(k+1)‖², in the units of the forward pass."""
    signals = smallest_of(row_norms_sq(b.B(k + 1)))
    return b.lambda_features(k) * signals * b.scale(k + 1) ** 2


def _schur_sum(b: BallInstance) -> tuple[Any, Any]:
    """λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²."""
    return b.lambda_K, sum((schur_bound(b, k) for k in range(b.i.L)), balls.flint().arb(0))


def _growth(b: BallInstance, k: int) -> tuple[Any, Any]:
    """max_i ‖f_k(x_i)‖²/‖x_i‖² ≤ Π_(l≤k) M²‖W_l‖²_op."""
    slope = b.i.network.activation.lipschitz
    if slope is None:
        raise Unproved("sup |φ′| is not known")
    pairs = [(f, x) for f, x in zip(row_norms_sq(b.F(k)), row_norms_sq(b.F(0)), strict=True)
             if x > 0]  # fmt: skip
    bound = balls.flint().arb(1)
    for l in range(1, k + 1):
        bound *= b.op_norm_sq(l) * balls.flint().arb(slope) ** 2
    return largest_of(f / x for f, x in pairs), bound


CONFIRMERS: dict[str, Confirmer] = {
    SHARED + "least-diagonal": _least_diagonal,
    SHARED + "first-diagonal": _first_diagonal,
    SHARED + "schur-sum": _schur_sum,
    SHARED + "growth": _growth,
}
