"""Bombari et al. 2022 in ball arithmetic: the kernel against its terms."""

from __future__ import annotations

from typing import Any

from ntkscope._base import balls
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.statements.balls.ball_instance import BallInstance


@PAPER.confirmer("loewner", "dominates")
def _dominates(b: BallInstance, k: int) -> tuple[Any, Any]:
    """λ_min(K − K_k) ≥ 0."""
    return b.smallest(("K −", k), b.K - b.term(k)), balls.flint().arb(0)


@PAPER.confirmer("loewner", "term")
@PAPER.confirmer("theorem-3.1", "term")
def _above_term(b: BallInstance, k: int) -> tuple[Any, Any]:
    """λ_min(K) ≥ λ_min(K_k)."""
    return b.lambda_K, b.lambda_term(k)
