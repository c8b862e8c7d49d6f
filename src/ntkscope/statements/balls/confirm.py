"""Counterexamples confirmed in ball arithmetic: the stored weights and data, everything else proved.

A confirmer evaluates both sides of a claim as balls; the claim is refuted where they are disjoint and
in the wrong order. A paper has those of its own claims, ``shared_claims.py`` those that several make.
"""

from __future__ import annotations

from dataclasses import dataclass

from ntkscope._base import balls
from ntkscope.statements.balls.ball_instance import BallInstance, Unproved
from ntkscope.statements.balls.shared_claims import CONFIRMERS
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Claim
from ntkscope.statements.paper import Confirmer
from ntkscope.statements.registry import find, paper_of

__all__ = ["Confirmation", "Unproved", "confirm", "confirmer"]


@dataclass(frozen=True)
class Confirmation:
    """An inequality left ≤/≥ right in balls: refuted where their enclosures prove the contrary."""

    claim: str
    left: tuple[float, float]
    right: tuple[float, float]
    refuted: bool
    bits: int = balls.PRECISION

    def __str__(self) -> str:
        word = "refuted" if self.refuted else "not refuted"
        return (
            f"{self.claim}: {word} in ball arithmetic at {self.bits} bits, left in "
            f"[{self.left[0]:.12g}, {self.left[1]:.12g}], right in "
            f"[{self.right[0]:.12g}, {self.right[1]:.12g}]"
        )


def confirm(id: str, instance: Instance, claim: Claim) -> Confirmation:
    """Evaluate a claim of a statement in balls.

    Raises Unproved, saying why, where no confirmer reaches it; ImportError where python-flint is
    missing; ValueError for an unknown id.
    """
    found = confirmer(id, claim.key)
    if found is None or claim.relation == "=":
        raise Unproved("no ball-arithmetic confirmer for this inequality")
    with balls.precision():
        held = instance.held("balls", lambda: BallInstance(instance))
        left, right = found(held, **claim.at)
        refuted = bool(left < right) if claim.relation == "≥" else bool(left > right)
        return Confirmation(claim.name, balls.bounds(left), balls.bounds(right), refuted)


def confirmer(id: str, key: str) -> Confirmer | None:
    """What confirms the claim ``key`` of a statement; None where nothing does."""
    statement = find(id)
    own = paper_of(statement).confirmers.get((statement.number, key))
    return own or CONFIRMERS.get(key)
