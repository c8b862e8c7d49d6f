"""Counterexamples confirmed in ball arithmetic: the stored weights and data, everything else proved.

A confirmer evaluates both sides of one kind of claim as balls; a claim is refuted where they are
disjoint and in the wrong order. ``confirm_<paper>.py`` has those of a paper's own statements,
``confirm_plain.py`` those of inequalities between features, signals and kernels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ntkscope._base import balls
from ntkscope.papers.banerjee2023 import confirm as confirm_banerjee2023
from ntkscope.papers.nguyen2021 import confirm as confirm_nguyen2021
from ntkscope.statements.balls import plain as confirm_plain
from ntkscope.statements.balls.ball_instance import BallInstance, Unproved
from ntkscope.statements.balls.plain import Confirmer
from ntkscope.statements.instance import Instance
from ntkscope.statements.verdict import Claim

__all__ = ["Confirmation", "Unproved", "confirm", "confirmers"]


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
    missing.
    """
    for pattern, confirmer in confirmers(id):
        found = re.search(pattern, claim.name)
        if found is None:
            continue
        with balls.precision():
            held = instance.held("balls", lambda: BallInstance(instance))
            left, right = confirmer(held, found)
            refuted = bool(left < right) if claim.relation == "≥" else bool(left > right)
            return Confirmation(claim.name, balls.bounds(left), balls.bounds(right), refuted)
    raise Unproved("no ball-arithmetic confirmer for this inequality")


def confirmers(id: str) -> Iterator[tuple[str, Confirmer]]:
    """(pattern of a claim's name, confirmer) for a statement."""
    for module in (confirm_nguyen2021, confirm_banerjee2023, confirm_plain):
        for ids, pattern, confirmer in module.CONFIRMERS:
            if re.fullmatch(ids, id):
                yield pattern, confirmer
