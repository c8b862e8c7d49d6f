"""The constant of a scaling law: at a fixed exponent, beside the free exponent and a straight line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntkscope.experiments.reading.fits import (
    Constant,
    Groups,
    Line,
    PowerLaw,
    constant_at,
    line,
    power_law,
    upper_half,
)
from ntkscope.experiments.reading.table import Table
from ntkscope.report.chart import DASHED, DOTTED, Axis, Chart, Series
from ntkscope.report.charts import floats
from ntkscope.report.palette import BLUE, VERMILION
from ntkscope.report.result import Drawn, Result, Tabular

_SAME = 1e-9  # relative difference of two constants that rounding may make


@dataclass(frozen=True)
class Point(Result):
    """y/x^exponent of the trials at one x: mean, standard error (0 of a single trial), how many."""

    x: float
    ratio: float
    error: float
    n: int


@dataclass(frozen=True)
class ConstantFit(Drawn, Tabular, Result, also=("trend", "exact")):
    """y = c · x^exponent on one curve.

    Attributes
    ----------
    curve, y, x: what was fitted; x and y are columns or expressions in them.
    constant: c at the fixed exponent. late: the same on the larger half of x; None below three points.
    free, free_late: with the exponent free. line: y = a + b x.
    points: y/x^exponent at each x.
    left_out: points whose mean is not positive.
    """

    curve: str
    y: str
    x: str
    constant: Constant
    late: Constant | None
    free: PowerLaw | None
    free_late: PowerLaw | None
    line: Line | None
    points: tuple[Point, ...]
    left_out: int

    def _rows(self) -> tuple[Point, ...]:
        return self.points

    def _chart(self) -> Chart:
        """y/x^exponent at each x, and the constant's interval."""
        xs = floats(p.x for p in self.points)
        power = "" if self.constant.exponent == 1 else f"^{self.constant.exponent:g}"
        name = f"{_held(self.y)} / {_held(self.x)}{power}"
        chart = Chart(Axis(self.x, log=True), Axis(name))
        chart.add(
            Series(
                "mean over the trials", xs, [p.ratio for p in self.points], "marks", BLUE,
                errors=[p.error for p in self.points],
            )
        )  # fmt: skip
        c = self.constant.constant
        for level, dash, said in (
            (c.value, DASHED, "c"),
            (c.low, DOTTED, "95%"),
            (c.high, DOTTED, ""),
        ):
            chart.add(
                Series(said, xs, [level] * len(xs), "line", VERMILION, dash, legend=bool(said))
            )
        return chart

    @property
    def exact(self) -> bool:
        """Whether the points lie on the law: their scatter is within the constant's interval."""
        c = self.constant.constant
        return self.constant.scatter <= max(c.high / c.value - 1.0, 1.0 - c.low / c.value, 1e-12)

    @property
    def trend(self) -> str:
        """Whether the constant still moves: "settled" where its interval on the larger half holds that of
        the smaller half's mean, else "rises" or "falls"; "open" below three points."""
        if self.late is None:
            return "open"
        early = float(np.mean([p.ratio for p in self.points[: -self.late.n_points]]))
        late = self.late.constant
        if late.contains(early) or abs(late.value - early) <= _SAME * late.value:
            return "settled"
        return "rises" if late.value > early else "falls"

    def __str__(self) -> str:
        power = "" if self.constant.exponent == 1 else f"^{self.constant.exponent:g}"
        return f"{self.curve}: {self.y} = c · {self._held}{power}\n{self.rows()}"

    @property
    def _held(self) -> str:
        return f"({self.x})" if any(c in self.x for c in "+-*/ ") else self.x

    def rows(self) -> str:
        """The fits, a line each."""
        first = self.constant
        lines = [
            f"  constant       c = {first.constant}, residual {100 * first.scatter:.2g} %"
            + ("" if self.exact else ": the points do not lie on this law"),
        ]
        if self.late is not None:
            lines.append(f"  larger half    c = {self.late.constant}: {_TREND[self.trend]}")
        if self.free is not None:
            lines.append(
                f"  free exponent  {self.free.exponent}, c = {self.free.constant.value:.4g}, residual "
                f"{100 * self.free.scatter:.2g} %"
                + (f"; larger half {self.free_late.exponent}" if self.free_late else "")
            )
        if self.line is not None:
            lines.append(
                f"  straight line  {self.line.intercept} + {self.line.slope} · {self._held}, "
                f"R² = {self.line.explained:.4f}"
            )
        lines.append(
            f"  {first.n_points} points, {first.n_trials} trials; 95% intervals, {first.resampled} drawn anew"
            + (f"; {self.left_out} points at zero left out" if self.left_out else "")
        )
        return "\n".join(lines)


def _held(expression: str) -> str:
    return f"({expression})" if any(c in expression for c in "+-*/ ") else expression


_TREND = {
    "settled": "no trend beyond its interval", "rises": "rises with the size",
    "falls": "falls with the size", "open": "too few points for a trend",
}  # fmt: skip


def fit_constant(
    table: Table, y: str, x: str, exponent: float = 1.0, by: str | None = None
) -> list[ConstantFit]:
    """The constant of y = c · x^exponent on the rows of a sweep, a fit for each value of ``by``.

    Parameters
    ----------
    table: rows of trials; those that failed are left out.
    y, x: columns, or expressions in columns such as ``lambda_min/d`` and ``L*d``; trials of one x
        are taken together.
    exponent: that the constant is fitted at.

    Returns
    -------
    One fit a curve. The free exponent and the line need three points.

    Raises
    ------
    ValueError
        For an unknown column, or a curve without a positive mean.
    """
    good = table.only(lambda r: "error" not in r)
    if len(table) and not len(good):
        raise ValueError(f"every trial failed, the first with: {table.records[0]['error']}")
    rows = good.having(y, x, by)
    fits = []
    for values, part in rows.groups(*((by,) if by else ())):
        curve = f"{by} = {values[0]}" if by else "all"
        try:
            fits.append(fit_curve(curve, y, x, exponent, part.trials(x, y)))
        except ValueError as error:
            raise ValueError(f"no constant of {y} over {x} ({curve}): {error}") from None
    if not fits:
        raise ValueError(f"no constant of {y} over {x}: the table has no rows")
    return fits


def fit_curve(curve: str, y: str, x: str, exponent: float, groups: Groups) -> ConstantFit:
    """The constant of y = c · x^exponent on one curve, given as x → the y of its trials.

    Raises ValueError where no mean is positive, or an x is not.
    """
    positive: Groups = {at: ys for at, ys in groups.items() if sum(ys) > 0}
    enough = len(positive) >= 3
    xs = sorted(positive)
    late = {at: positive[at] for at in xs[len(xs) // 2 :]}
    # an exponent of its own needs three points of the larger half
    few = upper_half(positive) if enough else positive
    constant = constant_at(positive, exponent)
    return ConstantFit(
        curve, y, x, constant,
        constant_at(late, exponent) if enough else None,
        power_law(positive) if enough else None,
        power_law(few) if len(few) < len(positive) else None,
        line(positive) if enough else None,
        tuple(_point(at, np.asarray(ys) / at**exponent) for at, ys in sorted(positive.items())),
        len(groups) - len(positive),
    )  # fmt: skip


def _point(x: float, ratios: np.ndarray) -> Point:
    n = len(ratios)
    error = float(ratios.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return Point(x, float(ratios.mean()), error, n)
