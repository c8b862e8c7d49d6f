"""Banerjee et al. 2023 in ball arithmetic: the printed constants, and what holds beside them."""

from __future__ import annotations

from re import Match
from typing import Any

from ntkscope._base import balls
from ntkscope.papers.banerjee2023.remarks import PRINTED, at_variance
from ntkscope.papers.banerjee2023.setting import ORDERS
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    diagonal,
    largest_of,
    row_norms_sq,
    smallest_of,
)
from ntkscope.statements.balls.plain import Confirmer


def _band(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """‖α^(l)(x)‖²/(c m_l) against ½ or 3/2, at the sample that leaves the band furthest."""
    l, upper = int(found[2]), found[1] == "max"
    norms = row_norms_sq(b.F(l))
    extreme = largest_of(norms) if upper else smallest_of(norms)
    return extreme / (b.c * b.i.n[l]), balls.flint().arb(1.5 if upper else 0.5)


def _activations(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """Theorem 4.2: λ_min(A^(l)A^(l)ᵀ) ≥ c_0^{(l−1,r)} m_l λ_1."""
    l, r = int(found[1]), int(found[2])
    return b.lambda_features(l), b.printed(l - 1, r) * b.i.n[l] * b.lambda_expected(1)


def _chain(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """Lemma 4.3: λ_(l+1) ≥ (μ_r²/6c)^l (σ_0²/2)^{3rl} λ_1."""
    l, r = int(found[1]), int(found[2])
    return b.lambda_expected(l), b.printed(l - 1, r) * b.lambda_expected(1)


def _kernel(b: BallInstance, _: Match[str] | None = None) -> tuple[Any, Any]:
    """Theorem 4.1: λ_min(K) ≥ max_(r>1) c_0^{(L−1,r)} λ_1."""
    constant = largest_of(b.printed(b.i.L - 2, r) for r in ORDERS if r > 1)
    return b.lambda_K, constant * b.lambda_expected(1)


def _kernel_at(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """The same at another σ_0²."""
    sigma_sq = float(found[1])
    at = b.i.held(("balls", sigma_sq), lambda: BallInstance(at_variance(b.i, sigma_sq)))
    return _kernel(at)


def _hessian_regime(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """γ = 4ν_0 against 1."""
    sigma_sq = balls.flint().arb(float(found[1]))
    return 4 * (sigma_sq / b.moments.square(sigma_sq)).sqrt(), balls.flint().arb(1)


def _series(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """E(φ − Σ_(r≤12) μ_r H_r)² against the tail beyond r = 12, at variance a."""
    a = balls.flint().arb(float(found[1]))
    squares = [balls.power(b.moments.coefficient(a, r), 2) for r in range(PRINTED + 1)]
    zero = balls.flint().arb(0)
    tail = b.moments.square(a) - sum(squares, zero)
    return sum(
        (x * balls.power(1 - 1 / balls.power(a, r), 2) for r, x in enumerate(squares)), tail
    ), tail


def _hermite(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_l ≥ min μ_r² λ_min(C^{∘r})."""
    l, r = int(found[1]), int(found[2])
    return b.lambda_expected(l), b.mu_sq(l, r) * _lambda_power(b, l, r)


def _hadamard(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(C^{∘r}) ≥ min a^(r−1) ν²λ_min(A^(l)A^(l)ᵀ)/m, C of layer l + 1."""
    r, l = int(found[1]), int(found[2])
    return _lambda_power(b, l, r), _least_variance(b, l, r) * _lambda_power(b, l, 1)


def _schur(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_l ≥ min μ_r² min a^(r−1) λ_min(C)."""
    l, r = int(found[1]), int(found[2])
    bound = b.mu_sq(l, r) * _least_variance(b, l, r) * _lambda_power(b, l, 1)
    return b.lambda_expected(l), bound


def _positive(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_1 ≥ 0."""
    return b.lambda_expected(1), balls.flint().arb(0)


def _least_moment(b: BallInstance, _: Match[str]) -> tuple[Any, Any]:
    """λ_1 ≤ min_i E φ(x_iᵀg/√d)²."""
    return b.lambda_expected(1), smallest_of(diagonal(b.expected(1)))


def _least_variance(b: BallInstance, l: int, r: int) -> Any:
    return balls.power(smallest_of(diagonal(b.covariance(l))), r - 1)


def _lambda_power(b: BallInstance, l: int, r: int) -> Any:
    return b.smallest(("C^r", l, r), balls.entrywise(b.covariance(l), lambda x: balls.power(x, r)))


_ID = r"banerjee2023\."
CONFIRMERS: tuple[tuple[str, str, Confirmer], ...] = (
    (_ID + r"lemma-4\.2", r"^(min|max)_i ‖α\^\((\d+)\)‖²", _band),
    (_ID + r"theorem-4\.2", r"^layer (\d+), r = (\d+), as printed", _activations),
    (_ID + r"lemma-4\.3", r"^λ_(\d+), r = (\d+), as printed", _chain),
    (_ID + r"theorem-4\.1", r"^λ_min\(K\) ≥ c_0 λ_1 as printed", _kernel),
    (_ID + r"tradeoff", r"^λ_min\(K\) ≥ c_0 λ_1 as printed at σ_0² = (\S+)", _kernel_at),
    (_ID + r"tradeoff", r"^γ ≤ 1 at σ_0² = (\S+)", _hessian_regime),
    (_ID + r"definition-4\.1", r"^E\(φ − Σ_\(r≤\d+\) μ_r H_r\)² ≤ tail.*a = (\S+)$", _series),
    (_ID + r"(lemma-4\.3|remark-4\.2a)", r"^λ_(\d+) ≥ min μ_(\d+)² λ_min\(C\^∘\d+\)$", _hermite),
    (
        _ID + r"lemma-4\.3",
        r"^λ_min\(C\^∘(\d+)\) ≥ min a\^\d+ ν²λ_min\(A.*, layer (\d+)$",
        _hadamard,
    ),
    (_ID + r"remark-4\.6", r"^λ_(\d+) ≥ min μ_(\d+)² min a\^\d+ λ_min\(C\)$", _schur),
)
