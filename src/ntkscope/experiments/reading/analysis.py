"""The fits that a settings file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ntkscope.experiments.design.settings import FitSettings
from ntkscope.experiments.reading.drawing import grouped
from ntkscope.experiments.reading.exponents import ScalingVerdict, scaling_verdict
from ntkscope.experiments.reading.fits import PowerLaw, power_law
from ntkscope.experiments.reading.table import Table
from ntkscope.report.result import Result


@dataclass(frozen=True)
class Fitted(Result):
    """A power law of one curve; ``verdict`` where the settings state the claimed exponent.

    left_out: points whose mean is not positive, through which no power law passes.
    """

    curve: str
    x: str
    y: str
    law: PowerLaw | None
    verdict: ScalingVerdict | None
    left_out: int
    note: str = ""

    def __str__(self) -> str:
        if self.law is None:
            return f"{self.curve}: no fit: {self.note}"
        text = f"{self.curve}: {self.y} ∝ {self.x}^{self.law.exponent}"
        if self.verdict is not None:
            text += f", claimed {self.verdict.claimed:g}: {self.verdict.outcome.value}"
        return text + (f" ({self.left_out} points at zero left out)" if self.left_out else "")


def fit_all(table: Table, wanted: Sequence[FitSettings]) -> list[Fitted]:
    """One fit for each curve of each setting. x and y may be expressions. Raises ValueError for an unknown
    column."""
    fits = []
    for fit in wanted:
        rows = table.having(fit.x, fit.y, fit.by)
        for values, part in rows.groups(*((fit.by,) if fit.by else ())):
            name = f"{fit.by} = {values[0]}" if fit.by else "all"
            fits.append(_fit(name, part, fit))
    return fits


def _fit(name: str, table: Table, wanted: FitSettings) -> Fitted:
    groups = grouped(table, wanted.x, wanted.y)
    positive = {x: ys for x, ys in groups.items() if sum(ys) > 0}
    left_out = len(groups) - len(positive)
    try:
        if wanted.expected is None:
            law, verdict = power_law(positive), None
        else:
            verdict = scaling_verdict(name, positive, wanted.expected)
            law = verdict.whole
    except ValueError as error:
        return Fitted(name, wanted.x, wanted.y, None, None, left_out, str(error))
    return Fitted(name, wanted.x, wanted.y, law, verdict, left_out)
