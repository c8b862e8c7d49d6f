"""What a sweep says of a scaling claim: an exponent with its interval against the one claimed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from ntkscope.experiments.reading.fits import Groups, PowerLaw, power_law, upper_half


class Outcome(Enum):
    """How an exponent stands to the claim."""

    CONSISTENT = "consistent"
    APPROACHED = "approached"
    NOT_SEEN = "not seen"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.CONSISTENT: "The claimed exponent lies in the 95% interval of the fit.",
    Outcome.APPROACHED: (
        "The claimed exponent lies outside the interval, and the larger half of the range is nearer "
        "to it than the whole: corrections of lower order still show at these sizes."
    ),
    Outcome.NOT_SEEN: (
        "The claimed exponent lies outside the interval, and the larger half of the range is no "
        "nearer to it."
    ),
}


@dataclass(frozen=True)
class ScalingVerdict:
    """y ∝ x^claimed, tried on one curve. whole: all points; late: the larger half of the x."""

    curve: str
    claimed: float
    whole: PowerLaw
    late: PowerLaw
    outcome: Outcome

    def to_dict(self) -> dict[str, Any]:
        return {
            "curve": self.curve,
            "claimed": self.claimed,
            "whole": self.whole.to_dict(),
            "late": self.late.to_dict(),
            "outcome": self.outcome.value,
            "sentence": self.outcome.sentence,
        }

    def __str__(self) -> str:
        return (
            f"{self.curve}: exponent {self.whole.exponent}, upper half {self.late.exponent}, "
            f"claimed {self.claimed:g}: {self.outcome.value}"
        )


def scaling_verdict(curve: str, groups: Groups, claimed: float, seed: int = 0) -> ScalingVerdict:
    """Fit a power law to all points and to the upper half, and compare with the claim.

    Raises ValueError as :func:`power_law`.
    """
    whole, late = power_law(groups, seed), power_law(upper_half(groups), seed)
    if whole.exponent.contains(claimed) or late.exponent.contains(claimed):
        outcome = Outcome.CONSISTENT
    elif abs(late.exponent.value - claimed) < abs(whole.exponent.value - claimed):
        outcome = Outcome.APPROACHED
    else:
        outcome = Outcome.NOT_SEEN
    return ScalingVerdict(curve, claimed, whole, late, outcome)
