"""What a sweep says of a scaling claim: an exponent with its interval against the one claimed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ntkscope.experiments.reading.fits import Estimate, Groups, PowerLaw, power_law, upper_half
from ntkscope.report.result import Result
from ntkscope.statements.outcomes import Trend


@dataclass(frozen=True)
class ScalingVerdict(Result, also={"sentence": "outcome.sentence"}):
    """y ∝ x^claimed, tried on one curve. whole: all points; late: the larger half of the x."""

    curve: str
    claimed: float
    whole: PowerLaw
    late: PowerLaw
    outcome: Trend

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
    outcome = trend(claimed, whole, late, lambda slope: slope.contains(claimed))
    return ScalingVerdict(curve, claimed, whole, late, outcome)


def trend(
    claimed: float, whole: PowerLaw, late: PowerLaw, allows: Callable[[Estimate], bool]
) -> Trend:
    """What two exponents say of a claim: ``allows`` is whether an exponent's interval admits it."""
    if allows(whole.exponent) or allows(late.exponent):
        return Trend.CONSISTENT
    early, last = whole.exponent, late.exponent
    nearer = abs(last.value - claimed) < abs(early.value - claimed)
    # the intervals are disjoint, so that noise is not taken for an approach
    apart = last.low > early.high or last.high < early.low
    return Trend.APPROACHED if nearer and apart else Trend.CONTRADICTED
