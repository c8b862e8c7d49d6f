"""What a sweep says of a scaling claim: exponent and constant with intervals against those claimed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ntkscope.experiments.reading.constants import ConstantFit, fit_curve
from ntkscope.experiments.reading.fits import Estimate, Groups, PowerLaw, power_law, upper_half
from ntkscope.experiments.reading.table import Table
from ntkscope.report.result import Result
from ntkscope.statements.outcomes import Trend


@dataclass(frozen=True)
class ScalingVerdict(Result, also={"sentence": "outcome.sentence"}):
    """y ∝ x^claimed, tried on one curve. whole: all points; late: the larger half of the x.

    constant: c of y = c · x^claimed, beside the free exponent and a straight line.
    """

    curve: str
    claimed: float
    whole: PowerLaw
    late: PowerLaw
    outcome: Trend
    constant: ConstantFit

    def __str__(self) -> str:
        return (
            f"{self.curve}: exponent {self.whole.exponent}, upper half {self.late.exponent}, "
            f"claimed {self.claimed:g}: {self.outcome.value}\n{self.constant.rows()}"
        )


def scaling_verdict(
    curve: str, groups: Groups, claimed: float, y: str = "y", x: str = "x"
) -> ScalingVerdict:
    """Fit a power law to all points and to the upper half, and compare with the claim.

    ``y`` and ``x`` name what the groups hold. Raises ValueError as :func:`power_law`.
    """
    whole, late = power_law(groups), power_law(upper_half(groups))
    outcome = trend(claimed, whole, late, lambda slope: slope.contains(claimed))
    constant = fit_curve(curve, y, x, claimed, groups)
    return ScalingVerdict(curve, claimed, whole, late, outcome, constant)


def scaling_verdicts(
    table: Table,
    x: str,
    y: str,
    by: Sequence[str],
    label: Callable[..., str],
    claimed: float,
    names: tuple[str, str],
) -> list[ScalingVerdict]:
    """:func:`scaling_verdict` of ``y`` over ``x`` for each curve of ``drawing.curves``; ``names`` are said of y and x."""
    return [
        scaling_verdict(label(*values), part.trials(x, y), claimed, *names)
        for values, part in table.groups(*by)
    ]  # fmt: skip


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
