"""What a statement's sweep says: does its scaling hold as everything grows together?

log(measured) is regressed on log(predicted), the expression without its constant: for Θ the slope
is 1, for a lower bound Ω at least 1, for an upper bound O at most 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ntkscope._base.records import Record
from ntkscope.experiments.measures.statement_measure import MEASURED, ORDER, PREDICTED
from ntkscope.experiments.reading.fits import PowerLaw, power_law
from ntkscope.experiments.reading.table import Table
from ntkscope.statements.registry import find


@dataclass(frozen=True)
class ScalingClaim(Record):
    """One scaling of a statement over a sweep.

    constant_low, constant_high: the smallest and the largest measured / predicted met.
    law: measured over predicted; ``None`` where no power law can be fitted, with ``note`` why.
    holds: whether the slope's 95% interval allows the claim; ``None`` without a law.
    """

    name: str
    order: str
    constant_low: float
    constant_high: float
    law: PowerLaw | None
    holds: bool | None
    note: str = ""

    def __str__(self) -> str:
        constants = f"constant {self.constant_low:.4g} … {self.constant_high:.4g}"
        if self.law is None:
            return f"{self.name} = {self.order}(…): {constants}; {self.note}"
        word = "consistent" if self.holds else "not seen at these sizes"
        return f"{self.name} = {self.order}(…): slope {self.law.exponent}, {constants}: {word}"


@dataclass(frozen=True)
class SweptStatement(Record):
    """A statement over a sweep: its scalings, and how often its inequalities failed."""

    id: str
    title: str
    sentence: str
    trials: int
    failed: int
    violations: int
    hypotheses_failed: int
    claims: tuple[ScalingClaim, ...]

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.title}", f"  {self.sentence}"]
        lines += [f"  {claim}" for claim in self.claims]
        if not self.claims:
            lines.append("  no scaling to fit: the statement has none, or none on this network")
        lines.append(
            f"  {self.trials} trials, {self.failed} failed; inequalities violated in "
            f"{self.violations}, hypotheses not met in {self.hypotheses_failed}"
        )
        return "\n".join(lines)


def judge(id: str, table: Table) -> SweptStatement:
    """What a statement's table says of its scalings."""
    good = table.only(lambda r: "error" not in r)
    names = [c[: -len(MEASURED)] for c in table.columns if c.endswith(MEASURED)]
    found = find(id)
    return SweptStatement(
        id, found.title, found.sentence, len(table), len(table) - len(good),
        sum(r["violations"] > 0 for r in good.records),
        sum(r["hypotheses_failed"] > 0 for r in good.records),
        tuple(_claim(name, good) for name in names),
    )  # fmt: skip


def _claim(name: str, table: Table) -> ScalingClaim:
    records = [r for r in table.records if name + MEASURED in r]
    order = str(records[0][name + ORDER])
    groups: dict[float, list[float]] = {}
    ratios = []
    for _, part in Table(table.columns, tuple(records)).groups("s"):
        predicted = float(np.mean([r[name + PREDICTED] for r in part.records]))
        groups[predicted] = [float(r[name + MEASURED]) for r in part.records]
        ratios += [y / predicted for y in groups[predicted] if predicted]
    low, high = (min(ratios), max(ratios)) if ratios else (math.nan, math.nan)
    if len(groups) == 1:
        return ScalingClaim(name, order, low, high, None, None, "the prediction does not change")
    try:
        law = power_law(groups)
    except ValueError as error:
        return ScalingClaim(name, order, low, high, None, None, f"no fit: {error}")
    return ScalingClaim(name, order, low, high, law, _allowed(order, law))


def _allowed(order: str, law: PowerLaw) -> bool:
    if order == "Ω":
        return law.exponent.high >= 1.0
    return law.exponent.low <= 1.0 if order == "O" else law.exponent.contains(1.0)
