"""Nguyen et al. 2021 in ball arithmetic: Schur's terms, Lemmas 5.3 and 5.4, Gershgorin's bound.

Lemma 5.4 is confirmed where E f has a closed form: the first ReLU layer.
"""

from __future__ import annotations

from typing import Any

from ntkscope._base import balls
from ntkscope.data import Gaussian, Sphere
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    Unproved,
    diagonal,
    largest_of,
    row_norms_sq,
    smallest_of,
)
from ntkscope.statements.balls.shared_claims import schur_bound


@PAPER.confirmer("eq-26", "schur-term")
def _schur_term(b: BallInstance, k: int) -> tuple[Any, Any]:
    """λ_min(K_k) ≥ λ_min(F_kF_kᵀ) min‖B_(k+1)‖²."""
    return b.lambda_term(k), schur_bound(b, k)


@PAPER.confirmer("eq-27", "trace")
def _trace(b: BallInstance) -> tuple[Any, Any]:
    """min_i K_ii ≤ tr(K)/N."""
    return smallest_of(diagonal(b.K)), b.K.trace() / b.i.N


@PAPER.confirmer("theorem-5.1", "smallest-row")
def _smallest_row(b: BallInstance, k: int) -> tuple[Any, Any]:
    """λ_min(F_kF_kᵀ) ≤ min_i ‖(F_k)_i‖²."""
    return b.lambda_features(k), smallest_of(row_norms_sq(b.F(k)))


def _mean(b: BallInstance) -> list[Any]:
    """E f_1(x), ReLU: ‖w‖/√(2π) for Gaussian x, ‖w‖ R Γ(d/2)/(2√π Γ((d+1)/2)) on the sphere."""
    module, law = balls.flint(), b.i.distribution
    if isinstance(law, Gaussian):
        factor = 1 / (2 * module.arb.pi()).sqrt()
    elif isinstance(law, Sphere):
        d = module.arb(b.i.d)
        radius = d.sqrt() if law.radius is None else module.arb(law.radius)
        factor = radius * (d / 2).gamma() / ((d + 1) / 2).gamma() / (2 * module.arb.pi().sqrt())
    else:
        raise Unproved("E f_1 has a closed form for Gaussian and spherical data alone")
    columns = b.weight(1).transpose().tolist()
    return [sum((w * w for w in column), module.arb(0)).sqrt() * factor for column in columns]


def _powers(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """((FFᵀ)^{∘r}, (F̃F̃ᵀ)^{∘r}) of the first layer."""
    if k != 1 or not b.i.relu:
        raise Unproved("E f_k has no closed form beyond the first ReLU layer, only a sampled one")
    F, mean = b.F(1), _mean(b)
    rows = [[x - m for x, m in zip(row, mean, strict=True)] for row in F.tolist()]
    centred = balls.flint().arb_mat(rows)
    full, reduced = (
        balls.entrywise(M * M.transpose(), lambda x: balls.power(x, r)) for M in (F, centred)
    )
    return full, reduced


@PAPER.confirmer("lemma-5.4", "difference")
def _difference(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """λ_min of the difference against 0."""
    full, reduced = _powers(b, k, r)
    return b.smallest(("difference", k, r), full - reduced), balls.flint().arb(0)


@PAPER.confirmer("lemma-5.4", "eigenvalues")
def _eigenvalues(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """λ_min(FFᵀ) against λ_min(F̃F̃ᵀ)."""
    full, reduced = _powers(b, k, r)
    return b.smallest(("full", k, r), full), b.smallest(("reduced", k, r), reduced)


def _khatri_rao(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """((F_kF_kᵀ)^{∘r}, its λ_min)."""
    power = balls.entrywise(b.gram(k), lambda x: balls.power(x, r))
    return power, b.smallest(("power", k, r), power)


@PAPER.confirmer("lemma-5.3", "hermite")
def _hermite(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """λ(E φφᵀ) ≥ β² μ_r² λ_min(F_k^{*r}…)/max_i ‖f_k‖^{2(r−1)}."""
    mu_sq = balls.power(b.moments.coefficient(balls.flint().arb(1), r), 2)
    largest = balls.power(largest_of(diagonal(b.gram(k))), r - 1)
    bound = b.variance(k + 1) * mu_sq * _khatri_rao(b, k, r)[1] / largest
    return b.lambda_expected(k + 1), bound


@PAPER.confirmer("theorem-3.2", "gershgorin")
def _gershgorin(b: BallInstance, r: int) -> tuple[Any, Any]:
    """λ_min(X^{*r}…) ≥ min‖x‖^{2r} − (N−1)max|⟨x_i,x_j⟩|^r."""
    power, value = _khatri_rao(b, 0, r)
    N = b.i.N
    across = [abs(power[a, c]) for a in range(N) for c in range(a)]
    return value, smallest_of(diagonal(power)) - (N - 1) * (largest_of(across) if across else 0)
