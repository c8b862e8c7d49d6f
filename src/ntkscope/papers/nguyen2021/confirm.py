"""Nguyen et al. 2021 in ball arithmetic: Lemmas 5.3 and 5.4, Gershgorin's bound of Theorem 3.2.

Lemma 5.4 is confirmed where E f has a closed form: the first ReLU layer.
"""

from __future__ import annotations

from re import Match
from typing import Any

from ntkscope._base import balls
from ntkscope.data import Gaussian, Sphere
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    Unproved,
    diagonal,
    largest_of,
    smallest_of,
)
from ntkscope.statements.balls.plain import Confirmer


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


def _powers(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """((FFᵀ)^{∘r}, (F̃F̃ᵀ)^{∘r}) of the first layer."""
    if int(found[1]) != 1 or not b.i.relu:
        raise Unproved("E f_k has no closed form beyond the first ReLU layer, only a sampled one")
    r = int(found[2])
    F, mean = b.F(1), _mean(b)
    rows = [[x - m for x, m in zip(row, mean, strict=True)] for row in F.tolist()]
    centred = balls.flint().arb_mat(rows)
    full, reduced = (
        balls.entrywise(M * M.transpose(), lambda x: balls.power(x, r)) for M in (F, centred)
    )
    return full, reduced


def _loewner(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min of the difference against 0."""
    full, reduced = _powers(b, found)
    return b.smallest(("difference", *found.groups()), full - reduced), balls.flint().arb(0)


def _eigenvalues(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(FFᵀ) against λ_min(F̃F̃ᵀ)."""
    full, reduced = _powers(b, found)
    keys = [(name, *found.groups()) for name in ("full", "reduced")]
    return b.smallest(keys[0], full), b.smallest(keys[1], reduced)


def _khatri_rao(b: BallInstance, k: int, r: int) -> tuple[Any, Any]:
    """((F_kF_kᵀ)^{∘r}, its λ_min)."""
    power = balls.entrywise(b.gram(k), lambda x: balls.power(x, r))
    return power, b.smallest(("power", k, r), power)


def _hermite(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ(E φφᵀ) ≥ β² μ_r² λ_min(F_k^{*r}…)/max_i ‖f_k‖^{2(r−1)}."""
    k, r = int(found[1]), int(found[2])
    mu_sq = balls.power(b.moments.coefficient(balls.flint().arb(1), r), 2)
    largest = balls.power(largest_of(diagonal(b.gram(k))), r - 1)
    bound = b.variance(k + 1) * mu_sq * _khatri_rao(b, k, r)[1] / largest
    return b.lambda_expected(k + 1), bound


def _gershgorin(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(X^{*r}…) ≥ min‖x‖^{2r} − (N−1)max|⟨x_i,x_j⟩|^r."""
    power, value = _khatri_rao(b, 0, int(found[1]))
    N = b.i.N
    across = [abs(power[a, c]) for a in range(N) for c in range(a)]
    return value, smallest_of(diagonal(power)) - (N - 1) * (largest_of(across) if across else 0)


CONFIRMERS: tuple[tuple[str, str, Confirmer], ...] = (
    (r"nguyen2021\.lemma-5\.3", r"^λ\(E φ\(F_(\d+)w\).* ≥ β² μ_(\d+)² λ_min", _hermite),
    (r"nguyen2021\.theorem-3\.2", r"^λ_min\(X\^\(\*(\d+)\)…\) ≥ min‖x‖", _gershgorin),
    (r"nguyen2021\.lemma-5\.4", r"^λ_min\(FFᵀ − F̃F̃ᵀ\) ≥ 0, F_(\d+), r = (\d+)", _loewner),
    (r"nguyen2021\.lemma-5\.4", r"^λ_min\(FFᵀ\) ≥ λ_min\(F̃F̃ᵀ\), F_(\d+), r = (\d+)", _eigenvalues),
)
