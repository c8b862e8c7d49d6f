"""Nguyen et al. 2021, Lemma 5.4 in ball arithmetic, where E f has a closed form."""

from __future__ import annotations

from re import Match
from typing import Any

from ntkscope import _balls
from ntkscope.data import Gaussian, Sphere
from ntkscope.theory.ball_instance import BallInstance, Unproved
from ntkscope.theory.confirm_plain import Confirmer


def _mean(b: BallInstance) -> list[Any]:
    """E f_1(x), ReLU: ‖w‖/√(2π) for Gaussian x, ‖w‖ R Γ(d/2)/(2√π Γ((d+1)/2)) on the sphere."""
    module, law = _balls.flint(), b.i.distribution
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
    centred = _balls.flint().arb_mat(rows)
    full, reduced = (
        _balls.entrywise(M * M.transpose(), lambda x: _balls.power(x, r)) for M in (F, centred)
    )
    return full, reduced


def _loewner(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min of the difference against 0."""
    full, reduced = _powers(b, found)
    return b.smallest(("difference", *found.groups()), full - reduced), _balls.flint().arb(0)


def _eigenvalues(b: BallInstance, found: Match[str]) -> tuple[Any, Any]:
    """λ_min(FFᵀ) against λ_min(F̃F̃ᵀ)."""
    full, reduced = _powers(b, found)
    keys = [(name, *found.groups()) for name in ("full", "reduced")]
    return b.smallest(keys[0], full), b.smallest(keys[1], reduced)


CONFIRMERS: tuple[tuple[str, str, Confirmer], ...] = (
    (r"nguyen2021\.lemma-5\.4", r"^λ_min\(FFᵀ − F̃F̃ᵀ\) ≥ 0, F_(\d+), r = (\d+)", _loewner),
    (r"nguyen2021\.lemma-5\.4", r"^λ_min\(FFᵀ\) ≥ λ_min\(F̃F̃ᵀ\), F_(\d+), r = (\d+)", _eigenvalues),
)
