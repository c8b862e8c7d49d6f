"""What a sweep says of a scaling claim: an exponent with its interval against the one claimed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ntkscope._base.records import Record
from ntkscope.experiments.reading.fits import Groups, PowerLaw, power_law, upper_half


class Agreement(StrEnum):
    """How an exponent stands to the claim."""

    CONSISTENT = "consistent"
    APPROACHED = "approached"
    NOT_SEEN = "not seen"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Agreement.CONSISTENT: "The claimed exponent lies in the 95% interval of the fit.",
    Agreement.APPROACHED: (
        "The claimed exponent lies outside the interval, and the larger half of the range is nearer "
        "to it than the whole: corrections of lower order still show at these sizes."
    ),
    Agreement.NOT_SEEN: (
        "The claimed exponent lies outside the interval, and the larger half of the range is no "
        "nearer to it."
    ),
}


@dataclass(frozen=True)
class ScalingVerdict(Record, also={"sentence": "outcome.sentence"}):
    """y ∝ x^claimed, tried on one curve. whole: all points; late: the larger half of the x."""

    curve: str
    claimed: float
    whole: PowerLaw
    late: PowerLaw
    outcome: Agreement

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
        outcome = Agreement.CONSISTENT
    elif abs(late.exponent.value - claimed) < abs(whole.exponent.value - claimed):
        outcome = Agreement.APPROACHED
    else:
        outcome = Agreement.NOT_SEEN
    return ScalingVerdict(curve, claimed, whole, late, outcome)
