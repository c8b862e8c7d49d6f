"""A chart on a matplotlib axes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from ntkscope.report.canvas import new_axes
from ntkscope.report.chart import Axis, Chart, Coordinate, Series
from ntkscope.report.palette import GREY

_MARKERS = {"dot": "o", "diamond": "D", "right": ">", "left": "<", "bar": "|"}
_BESIDE: dict[str, tuple[tuple[int, int], str, str]] = {
    "above": ((0, 6), "center", "bottom"),
    "right": ((7, 0), "left", "center"),
    "left": ((-7, 0), "right", "center"),
}
_INCH = 96  # of a chart's height


def draw(chart: Chart, ax: Any = None) -> Any:
    """Draw on ``ax``, or on the axes of a new figure as pyplot makes it; returns the axes."""
    ax = new_axes(5.2, max(2.4, chart.height / _INCH)) if ax is None else ax
    _scales(ax, chart)
    for low, high in chart.bands:
        ax.axvspan(low, high, color=GREY, alpha=0.35, linewidth=0, zorder=0)
    for value, name in chart.rules:
        ax.axvline(value, color=GREY, linestyle=":", linewidth=1)
        ax.annotate(
            readable(name), (value, 1), xycoords=("data", "axes fraction"), fontsize="small",
            color="0.35", ha="center", va="bottom",
        )  # fmt: skip
    bars = [s for s in chart.series if s.kind == "bars" and not s.widths]
    if any(series.written for series in chart.series):
        ax.margins(x=0.18)
    for series in chart.series:
        if series.kind == "bars":
            beside = bars.index(series) if series in bars else 0
            _bars(ax, chart, series, beside, len(bars))
        else:
            _points(ax, chart, series)
    _ticks(ax, chart)
    if chart.note:
        ax.annotate(
            chart.note, (0.02, 0.02), xycoords="axes fraction", fontsize="small", color="0.35"
        )
    named = [s for s in chart.series if s.legend and s.name]
    if len(named) > 1 or any(s.dash for s in named):
        ax.legend(frameon=False, fontsize="small")
    return ax


def _scales(ax: Any, chart: Chart) -> None:
    for axis, which in ((chart.x, "x"), (chart.y, "y")):
        _scale(ax, axis, which)


def _scale(ax: Any, axis: Axis, which: str) -> None:
    ax.set(**{f"{which}label": readable(axis.title)})
    if axis.log:
        ax.set(**{f"{which}scale": "log"})
    if axis.categories:
        names = [_short(name) for name in axis.categories]
        places = range(len(names))
        turned = (
            {"rotation": 30, "ha": "right"} if which == "x" and len("".join(names)) > 40 else {}
        )
        getattr(ax, f"set_{which}ticks")(places, names, **turned)
        ax.set(**{f"{which}lim": (-0.6, len(names) - 0.4)})
    if axis.ends is not None:
        ax.set(**{f"{which}lim": axis.ends})
    if axis.categories or not axis.grid:
        ax.grid(False, axis=which)


def _ticks(ax: Any, chart: Chart) -> None:
    """1, 2, 5 on a log axis of less than two decades; whole numbers on one that counts."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for axis, which in ((chart.x, "x"), (chart.y, "y")):
        if axis.categories:
            continue
        drawn = getattr(ax, f"{which}axis")
        low, high = sorted(getattr(ax, f"get_{which}lim")())
        if axis.log and high < 100 * low:
            drawn.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 4 * low else range(1, 10)))
            drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            drawn.set_minor_locator(NullLocator())
        elif not axis.log and which == "x" and all(_whole(s.x) for s in chart.series):
            drawn.set_major_locator(MaxNLocator(integer=True))


def _whole(values: Sequence[Coordinate]) -> bool:
    return all(isinstance(v, (int, float)) and float(v).is_integer() for v in values)


def readable(text: str) -> str:
    """``10^{-3}`` and ``F_{k+1}`` without the braces that stand for indices."""
    return re.sub(r"([_^])\{([^{}]*)\}", r"\1\2", text)


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 + 1 :]}"


def _numbers(values: Sequence[Coordinate], axis: Axis) -> list[float]:
    """Places on an axis: a category's number; NaN, a gap, for what a log axis cannot show."""
    places = {name: float(i) for i, name in enumerate(axis.categories)}
    found = [places[v] if isinstance(v, str) else float(v) for v in values]
    return [math.nan if axis.log and v <= 0 else v for v in found]


def _points(ax: Any, chart: Chart, series: Series) -> None:
    x, y = _numbers(series.x, chart.x), _numbers(series.y, chart.y)
    color, label = series.color, _label(series)
    if series.kind in ("line", "both"):
        dash = (0, tuple(float(d) / 1.6 for d in series.dash.split())) if series.dash else "-"
        ax.plot(
            x, y, color=color, linestyle=dash, linewidth=0.75 * series.width,
            label=label if series.kind == "line" else None,
        )  # fmt: skip
    if series.kind == "line":
        return
    if series.errors:
        ax.errorbar(x, y, yerr=list(series.errors), fmt="none", ecolor=color, elinewidth=1)
    kinds = (
        [series.marker] * len(x) if isinstance(series.marker, str) else list(series.marker)
    ) or ["dot"]
    for kind in dict.fromkeys(kinds):
        at = [i for i, k in enumerate(kinds[: len(x)]) if k == kind]
        ax.plot(
            [x[i] for i in at], [y[i] for i in at], linestyle="none", marker=_MARKERS[kind],
            markersize=1.4 * series.size, color=color, alpha=series.opacity,
            label=label if kind == kinds[0] else None,
        )  # fmt: skip
    for i, said in enumerate(series.written):
        place = series.places[i] if series.places else "right"
        shift, across, along = _BESIDE[place]
        ax.annotate(
            readable(said), (x[i], y[i]), shift, textcoords="offset points", ha=across, va=along,
            fontsize="small",
        )  # fmt: skip


def _bars(ax: Any, chart: Chart, series: Series, number: int, count: int) -> None:
    label, color = _label(series), series.color
    x, y = _numbers(series.x, chart.x), _numbers(series.y, chart.y)
    if series.widths:
        ax.bar(x, y, width=list(series.widths), color=color, label=label)
        return
    size = 0.76 / max(1, count)
    shift = (number - (count - 1) / 2) * size
    if chart.y.categories:
        ax.barh([b + shift for b in y], x, height=size, color=color, label=label)
        return
    ax.bar([a + shift for a in x], y, width=size, color=color, label=label)
    if series.errors:
        ax.errorbar(
            [a + shift for a in x],
            y,
            yerr=list(series.errors),
            fmt="none",
            ecolor="0.2",
            elinewidth=1,
        )


def _label(series: Series) -> str | None:
    return readable(series.name) if series.legend and series.name else None
