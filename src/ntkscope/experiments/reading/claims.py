"""What a statement's sweep says: does its conclusion keep its order as everything grows?

log(measured) is regressed on log(predicted), the expression without its constant: for Θ the slope
is 1, for a lower bound Ω at least 1, for an upper bound O at most 1. Where the expression is the same
at every size, the measured number is regressed on the factor by which all grow: the slope is then 0.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ntkscope.experiments.measures.statement_measure import MEASURED, ORDER, PREDICTED
from ntkscope.experiments.reading.exponents import trend
from ntkscope.experiments.reading.fits import Estimate, Groups, PowerLaw, power_law, upper_half
from ntkscope.experiments.reading.table import Table
from ntkscope.report.result import Result
from ntkscope.statements.outcomes import Trend
from ntkscope.statements.registry import find


@dataclass(frozen=True)
class ScalingClaim(Result):
    """A conclusion up to a constant over a sweep.

    name: measured = order(expression). claimed: the slope of equality, 1, or 0 for an expression that
    does not change.
    constant_low, constant_high: the smallest and the largest measured / predicted met.
    whole, late: the fit to all sizes and to the larger half; ``None`` where no power law can be fitted,
    with ``note`` why.
    """

    name: str
    order: str
    constant_low: float
    constant_high: float
    claimed: float
    whole: PowerLaw | None
    late: PowerLaw | None
    outcome: Trend
    note: str = ""

    def __str__(self) -> str:
        constants = f"constant {self.constant_low:.4g} … {self.constant_high:.4g}"
        slope = f"slope {self.whole.exponent}, " if self.whole is not None else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {slope}{constants}: {self.outcome.value}{note}"


@dataclass(frozen=True)
class SweptStatement(Result):
    """A statement over a sweep: its conclusions, and what it came to in the trials.

    outside: trials in which a hypothesis is not met. The fits leave them out, unless there are no others.
    outcomes: how many trials came to what.
    """

    id: str
    title: str
    sentence: str
    trials: int
    failed: int
    outside: int
    outcomes: dict[str, int]
    claims: tuple[ScalingClaim, ...]

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.title}", f"  {self.sentence}"]
        lines += [f"  {claim}" for claim in self.claims]
        if not self.claims:
            lines.append("  no order to fit: the statement has none, or none on this network")
        if self.outside and self.outside == self.trials - self.failed:
            lines.append(
                "  the statement applies to none of the trials; the fits are of what it says there"
            )
        counts = ", ".join(f"{count} {word}" for word, count in self.outcomes.items())
        lines.append(f"  {self.trials} trials, {self.failed} failed: {counts}")
        return "\n".join(lines)


def judge(id: str, table: Table) -> SweptStatement:
    """What a statement's table says of its conclusions."""
    good = table.only(lambda r: "error" not in r)
    inside = good.only(lambda r: r["hypotheses_failed"] == 0)
    fitted = inside if len(inside) else good
    names = [c[: -len(MEASURED)] for c in table.columns if c.endswith(MEASURED)]
    found = find(id)
    claims = (
        _claim(name, fitted) for name in names if any(name + MEASURED in r for r in fitted.records)
    )
    return SweptStatement(
        id, found.title, found.sentence, len(table), len(table) - len(good), len(good) - len(inside),
        dict(Counter(str(r["outcome"]) for r in good.records)), tuple(claims),
    )  # fmt: skip


def _claim(name: str, table: Table) -> ScalingClaim:
    records = [r for r in table.records if name + MEASURED in r]
    order = str(records[0][name + ORDER])
    by_size: dict[float, tuple[float, list[float]]] = {}
    for (size,), part in Table(table.columns, tuple(records)).groups("s"):
        predicted = float(np.mean([r[name + PREDICTED] for r in part.records]))
        by_size[size] = predicted, [float(r[name + MEASURED]) for r in part.records]
    ratios = [y / p for p, ys in by_size.values() for y in ys if p]
    low, high = (min(ratios), max(ratios)) if ratios else (math.nan, math.nan)
    fixed = len({p for p, _ in by_size.values()}) == 1
    claimed = 0.0 if fixed else 1.0
    groups: Groups = {s if fixed else p: ys for s, (p, ys) in by_size.items()}
    try:
        whole, late = power_law(groups), power_law(upper_half(groups))
    except ValueError as error:
        return ScalingClaim(
            name, order, low, high, claimed, None, None, Trend.OPEN, f"no fit: {error}"
        )
    outcome = trend(claimed, whole, late, lambda slope: _allowed(order, claimed, slope))
    note = ""
    stands = {"Ω": low >= 1, "O": high <= 1, "Θ": False}[order]
    if stands and outcome is not Trend.CONSISTENT:
        # a slope on the wrong side cannot refute a bound that has not yet been used up
        outcome, note = Trend.CONSISTENT, "with constant 1 at every size, whatever the slope"
    return ScalingClaim(name, order, low, high, claimed, whole, late, outcome, note)


def _allowed(order: str, claimed: float, slope: Estimate) -> bool:
    if order == "Ω":
        return slope.high >= claimed
    return slope.low <= claimed if order == "O" else slope.contains(claimed)
