"""The width found, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ntkscope.networks.network import Network
from ntkscope.prediction.for_sample import SamplePrediction
from ntkscope.report import charts
from ntkscope.report.chart import DASHED, DOTTED, Chart, Series
from ntkscope.report.charts import floats
from ntkscope.report.palette import BLACK
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.training.width_goal import Goal


@dataclass(frozen=True)
class WidthPoint(Result, also=("mean", "spread")):
    """The goal's quantity on sampled networks of one width, each value with its error.

    limit: that of the limiting kernel.
    """

    width: int
    values: tuple[float, ...]
    errors: tuple[float, ...]
    limit: float

    @property
    def certain(self) -> float:
        """What the worst of the networks certainly reaches: its value less its error."""
        return min(v - e for v, e in zip(self.values, self.errors, strict=True))

    @property
    def mean(self) -> float:
        """The mean over the networks."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """One standard deviation over the networks."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Concentration:
    """1 − mean/limit ≈ loss · width^{-exponent}, fitted on ``points`` widths."""

    loss: float
    exponent: float
    exponent_error: float
    points: int

    def share(self, width: int | float) -> float:
        """The share of the limit expected at a width; 0 where the law claims less than nothing."""
        return max(0.0, 1.0 - self.loss * width ** (-self.exponent))


_GOAL = {"goal": "goal.__str__", "quantity": "goal.name", "threshold": "goal.threshold"}


@dataclass(frozen=True)
class WidthAdvice(Drawn, Tabular, Result, without=("goal",), also=_GOAL):
    """The smallest width found, and the evidence.

    width: ``None`` where none was found; ``reason`` says why. network: at that width. limit: the quantity of
    the limiting kernel there. too_narrow: the widest width that failed. points: everything
    measured. predicted: λ_min of the limiting kernel from N, d and the rows' norms alone, or why
    it is refused. conditions: (theorem, formula, width it would ask for with its constant set to 1).
    """

    goal: Goal
    width: int | None
    too_narrow: int | None
    network: Network | None
    limit: float
    predicted: SamplePrediction
    points: tuple[WidthPoint, ...]
    concentration: Concentration | None
    conditions: tuple[tuple[str, str, int], ...]
    reason: str
    n_samples: int
    seconds: float = field(compare=False, default=0.0)

    def _rows(self) -> tuple[WidthPoint, ...]:
        return self.points

    def _chart(self) -> Chart:
        """The goal's quantity over the widths that were measured, its goal and its limit."""
        shown = [p for p in self.points if p.certain > 0]
        at = [p.width for p in shown]
        chart = charts.curves(
            "width", self.goal.name, at, {"sampled networks": [p.mean for p in shown]},
            errors={"sampled networks": [p.spread for p in shown]},
        )  # fmt: skip
        hidden = len(self.points) - len(shown)
        chart.note = f"{hidden} widths not certainly above 0 not shown" if hidden else ""
        for name, level, dash in (
            ("limiting kernel", self.limit, DASHED),
            ("goal", self.goal.threshold, DOTTED),
        ):
            chart.add(Series(name, floats(at), [level] * len(at), "line", BLACK, dash))
        return chart

    def __str__(self) -> str:
        lines = [f"goal: {self.goal} on {self.n_samples} samples"]
        lines.append(f"limiting kernel: {self.goal.name} = {self.limit:.6g}")
        lines.append(f"predicted from N, d and the norms alone: {self.predicted}")
        for p in self.points:
            lines.append(
                f"  width {p.width}: {p.mean:.5g} ± {p.spread:.2g} ({p.mean / p.limit:.1%} of the "
                f"limit, {len(p.values)} networks)"
            )
        if self.concentration is not None:
            c = self.concentration
            lines.append(
                f"concentration: 1 − share ≈ {c.loss:.3g}·n^-{c.exponent:.2f} (± "
                f"{c.exponent_error:.2f}, {c.points} widths)"
            )
        lines += [f"{name}: {formula} = {n}" for name, formula, n in self.conditions]
        return "\n".join([*lines, self.reason])
