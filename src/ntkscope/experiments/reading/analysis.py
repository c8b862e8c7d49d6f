"""The fits that a settings file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ntkscope.experiments.design.settings import FitSettings
from ntkscope.experiments.reading.constants import ConstantFit, fit_curve
from ntkscope.experiments.reading.exponents import ScalingVerdict, scaling_verdict
from ntkscope.experiments.reading.table import Table
from ntkscope.report.result import Result


@dataclass(frozen=True)
class Fitted(Result):
    """The law of one curve: its constant at the claimed exponent (1, where none is claimed) beside the
    free exponent and a line; ``verdict`` where the settings state the claim. ``note``: why one is missing.
    """

    curve: str
    x: str
    y: str
    constant: ConstantFit | None
    verdict: ScalingVerdict | None
    note: str = ""

    def __str__(self) -> str:
        if self.constant is None:
            return f"{self.curve}: no fit of {self.y} over {self.x}: {self.note}"
        free = self.constant.free
        head = f"{self.curve}: {self.y} ∝ {self.x}^{free.exponent}" if free else str(self.constant)
        if self.verdict is not None:
            head += f", claimed {self.verdict.claimed:g}: {self.verdict.outcome.value}"
        if self.note:
            head += f"; no verdict: {self.note}"
        return f"{head}\n{self.constant.rows()}" if free else head


def fit_all(table: Table, wanted: Sequence[FitSettings]) -> list[Fitted]:
    """One fit for each curve and y of each setting. x and y may be expressions. Raises ValueError for an
    unknown column."""
    fits = []
    for fit in wanted:
        rows = table.having(fit.x, *fit.ys, fit.by)
        for y in fit.ys:
            for values, part in rows.groups(*((fit.by,) if fit.by else ())):
                name = f"{fit.by} = {values[0]}" if fit.by else "all"
                fits.append(_fit(name, part, fit.x, y, fit.expected))
    return fits


def _fit(name: str, table: Table, x: str, y: str, expected: float | None) -> Fitted:
    groups = table.trials(x, y)
    constant: ConstantFit | None = None
    try:
        constant = fit_curve(name, y, x, 1.0 if expected is None else expected, groups)
        if expected is None:
            return Fitted(name, x, y, constant, None)
        positive = {at: ys for at, ys in groups.items() if sum(ys) > 0}
        return Fitted(name, x, y, constant, scaling_verdict(name, positive, expected, y, x))
    except ValueError as error:
        return Fitted(name, x, y, constant, None, str(error))
