"""Ball-arithmetic confirmers of inequalities between weights, features, signals and kernels."""

from __future__ import annotations

from collections.abc import Callable
from re import Match
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

# (left, right) of a claim, whose name matched with the layer numbers as groups
Confirmer = Callable[[BallInstance, Match[str]], tuple[Any, Any]]


def _least_diagonal(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_min(K) ≤ min_i K_ii."""
    return b.lambda_K, smallest_of(diagonal(b.K))


def _first_diagonal(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_min(K) ≤ K_11."""
    return b.lambda_K, b.K[0, 0]


def _trace(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """min_i K_ii ≤ tr(K)/N."""
    return smallest_of(diagonal(b.K)), b.K.trace() / b.i.N


def _term_schur(b: BallInstance, k: int) -> Any:
    """λ_min(F_kF_kᵀ) min‖B_(k+1)‖², in the units of the forward pass."""
    signals = smallest_of(row_norms_sq(b.B(k + 1)))
    return b.lambda_features(k) * signals * b.scale(k + 1) ** 2


def _schur_sum(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²."""
    return b.lambda_K, sum((_term_schur(b, k) for k in range(b.i.L)), balls.flint().arb(0))


def _schur(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """The same for one term."""
    k = int(found[1])
    return _lambda_term(b, k), _term_schur(b, k)


def _last_layer(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m."""
    return b.lambda_K, _term_schur(b, b.i.L - 1)


def _lambda_term(b: BallInstance, k: int) -> Any:
    return b.smallest(("term", k), b.term(k))


def _dominates(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(K − K_k) ≥ 0."""
    rest = b.K - b.term(int(found[1]))
    return b.smallest(("K −", found[1]), rest), balls.flint().arb(0)


def _above_term(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(K) ≥ λ_min(K_k); K_(L-2) where the claim names no number."""
    k = int(found[1]) if found[1] else b.i.L - 2
    return b.lambda_K, _lambda_term(b, k)


def _smallest_row(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(F_kF_kᵀ) ≤ min_i ‖(F_k)_i‖²."""
    k = int(found[1])
    return b.lambda_features(k), smallest_of(row_norms_sq(b.F(k)))


def _growth(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """max_i ‖f_k(x_i)‖²/‖x_i‖² ≤ Π_(l≤k) M²‖W_l‖²_op."""
    k, slope = int(found[1]), b.i.network.activation.lipschitz
    if slope is None:
        raise Unproved("sup |φ′| is not known")
    pairs = [(f, x) for f, x in zip(row_norms_sq(b.F(k)), row_norms_sq(b.F(0)), strict=True)
             if x > 0]  # fmt: skip
    bound = balls.flint().arb(1)
    for l in range(1, k + 1):
        bound *= b.op_norm_sq(l) * balls.flint().arb(slope) ** 2
    return largest_of(f / x for f, x in pairs), bound


ANY = r".*"
CONFIRMERS: tuple[tuple[str, str, Confirmer], ...] = (
    (ANY, r"^λ_min\(K\) ≤ min_i K_ii$", _least_diagonal),
    (ANY, r"^λ_min\(K\) ≤ K_11$", _first_diagonal),
    (ANY, r"^min_i K_ii ≤ tr\(K\)/N$", _trace),
    (ANY, r"^λ_min\(K\) ≥ Σ_k λ_min\(F_kF_kᵀ\) min‖B_\(k\+1\)‖²$", _schur_sum),
    (ANY, r"^λ_min\(K\) ≥ Σ_l λ_min\(A\^\(l-1\)A\^\(l-1\)ᵀ\)", _schur_sum),
    (ANY, r"^λ_min\(K_(\d+)\) ≥ λ_min\(F_\d+F_\d+ᵀ\) min‖B_\d+‖²$", _schur),
    (ANY, r"^λ_min\(K\) ≥ λ_min\(A\^\(L\)A\^\(L\)ᵀ\)/m(, v = v_0)?$", _last_layer),
    (ANY, r"^λ_min\(K − K_(\d+)( = K_\(L-2\))?\) ≥ 0$", _dominates),
    (ANY, r"^λ_min\(K\) ≥ λ_min\(K_(?:(\d+)(?: = K_\(L-2\))?|\(L-2\))\)$", _above_term),
    (ANY, r"^λ_min\(F_(\d+)F_\d+ᵀ\) ≤ min_i ‖\(F_\d+\)_i‖²$", _smallest_row),
    (ANY, r"^max_i ‖f_(\d+)\(x_i\)‖²/‖x_i‖² ≤ Π", _growth),
)
