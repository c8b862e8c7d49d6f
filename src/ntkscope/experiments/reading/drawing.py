"""Curves with bands and heat maps, in the papers' form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ntkscope._base.files import save_figure
from ntkscope.experiments.reading.fits import Groups
from ntkscope.experiments.reading.table import Table
from ntkscope.report.canvas import make_axes as make_axes
from ntkscope.report.palette import GREY
from ntkscope.report.palette import PALETTE as COLOURS

__all__ = [
    "COLOURS",
    "curve",
    "curves",
    "heat_map",
    "make_axes",
    "over_map",
    "overlaid",
    "plotted",
    "save",
]

_LOOKS = ("-", "--", ":", "-.")  # of several columns under one colour

# what an artist was drawn from and does not show by itself
_SOURCES: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """NAME.png (150 dots an inch) and NAME.pdf."""
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    for path in paths:
        save_figure(figure, path)
    return paths


def curve(
    ax: Any, groups: Groups, label: str | None, index: int, *, band: bool = True, **style: Any
) -> None:
    """The mean over x and a band of one standard deviation; ``style`` is that of the line."""
    xs = np.array(list(groups))
    means = np.array([np.mean(v) for v in groups.values()])
    spreads = np.array([np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in groups.values()])
    usual = {
        "color": COLOURS[index % len(COLOURS)],
        "marker": "o",
        "markersize": 3,
        "linewidth": 1.4,
    }
    (line,) = ax.plot(xs, means, label=label, **(usual | style))
    trials = [len(v) for v in groups.values()]
    _SOURCES[line] = {
        "standard_deviation": spreads.tolist(), "trials": trials,
        "standard_error": [s / n**0.5 if n > 1 else None for s, n in zip(spreads, trials, strict=True)],
    }  # fmt: skip
    if band:
        ends = means - spreads, means + spreads
        ax.fill_between(xs, *ends, color=line.get_color(), alpha=0.18, linewidth=0)


def curves(
    ax: Any,
    table: Table,
    x: str,
    y: str | Callable[[Table], Groups],
    by: Sequence[str] = (),
    label: str | Callable[..., str | None] | None = None,
    *,
    legend: str = "small",
    **style: Any,
) -> None:
    """One curve for each combination of values of the columns ``by``.

    ``y`` is a column, or makes x → the trials' values of the rows of one curve. ``label`` is made of the values
    unless given, "" for none; ``legend`` is the size of its letters, "" for none; ``style`` is that of :func:`curve`.
    """
    for index, (values, part) in enumerate(table.groups(*by)):
        text = label(*values) if callable(label) else label
        if label is None:
            text = ", ".join(f"{n} = {v}" for n, v in zip(by, values, strict=True))
        found = part.trials(x, y) if isinstance(y, str) else y(part)
        if found:
            curve(ax, found, text, index, **style)
    ax.set(xlabel=x, ylabel=y if isinstance(y, str) else "")
    if by and legend and label != "":
        ax.legend(frameon=False, fontsize=legend)


def overlaid(
    ax: Any, table: Table, x: str, ys: Sequence[str], by: str | None = None, log: bool = False
) -> None:
    """Several columns over x: a colour for each value of ``by`` and a look for each y, or a colour for each y."""
    groups = list(table.groups(*((by,) if by else ())))
    for at, y in enumerate(ys):
        for index, (values, part) in enumerate(groups):
            names = ([y] if len(ys) > 1 else []) + ([f"{by} = {values[0]}"] if by else [])
            look: dict[str, Any] = {"linestyle": _LOOKS[at % len(_LOOKS)]} if by else {}
            found = part.trials(x, y)
            if found:
                curve(ax, found, ", ".join(names), index if by else at, **look)
    ax.set_xlabel(x)
    ax.set_ylabel(ys[0] if len(ys) == 1 else "mean, one standard deviation")
    if log:
        ax.set_xscale("log")
        ax.set_yscale("log")
    if by or len(ys) > 1:
        ax.legend(frameon=False, fontsize="small")


def heat_map(ax: Any, table: Table, x: str, y: str, value: str, title: str) -> None:
    """The mean of log10 ``value`` over x and y; a cell without a trial is grey."""
    xs, ys = table.distinct(x), table.distinct(y)
    cells = np.full((len(ys), len(xs)), np.nan)
    errors, trials = cells.copy(), np.zeros(cells.shape, dtype=int)
    for (at_x, at_y), part in table.groups(x, y):
        numbers = [r[value] for r in part.records if value in r]
        if numbers:
            # a loss of exactly zero has no logarithm: float32's smallest normal number stands in
            logs = np.log10(np.maximum(numbers, 1.2e-38))
            at = ys.index(at_y), xs.index(at_x)
            cells[at], trials[at] = float(logs.mean()), len(logs)
            if len(logs) > 1:
                errors[at] = float(logs.std(ddof=1)) / len(logs) ** 0.5
    mesh = ax.pcolormesh(_edges(xs), _edges(ys), cells, cmap="viridis", shading="flat")
    if not trials.all():
        mesh.set_cmap(mesh.cmap.with_extremes(bad=(GREY, 0.25)))
        ax.set_title("grey: no finished trial", fontsize="small", loc="right")
    _SOURCES[mesh] = {
        "label": title, "x": list(xs), "y": list(ys), "mean_log10": _plain(cells),
        "standard_error": _plain(errors), "trials": trials.tolist(),
    }  # fmt: skip
    ax.grid(False)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.figure.colorbar(mesh, ax=ax, label=title)


def over_map() -> dict[str, Any]:
    """The look of a line that has to be seen on every colour of a map: black within white."""
    from matplotlib.patheffects import withStroke

    return {"color": "black", "path_effects": [withStroke(linewidth=2.8, foreground="white")]}


def plotted(axes: Sequence[Any]) -> list[dict[str, Any]]:
    """The numbers behind a drawing: of each panel its axes, its curves and its heat map.

    A curve of means has the standard deviation, the standard error and the count of the trials at each
    point; other lines (predictions, fits) have x and y alone.
    """
    return [
        {
            "x": ax.get_xlabel(), "y": ax.get_ylabel(),
            "curves": [_line(line) for line in ax.lines],
            "maps": [_SOURCES[mesh] for mesh in ax.collections if mesh in _SOURCES],
        }
        for ax in axes
    ]  # fmt: skip


def _line(line: Any) -> dict[str, Any]:
    label = str(line.get_label())
    x, y = (_plain(np.asarray(values, dtype=float)) for values in line.get_data())
    return {
        "label": "" if label.startswith("_") else label,
        "x": x,
        "y": y,
        **_SOURCES.get(line, {}),
    }


def _plain(values: np.ndarray) -> list[Any]:
    """Lists for JSON, None for what is no number."""
    kept = values.astype(object)
    kept[~np.isfinite(values)] = None
    made: list[Any] = kept.tolist()
    return made


def _edges(centres: Sequence[int | float]) -> np.ndarray:
    c = np.asarray(centres, dtype=float)
    if len(c) == 1:
        return np.array([c[0] - 0.5, c[0] + 0.5])
    middle = (c[1:] + c[:-1]) / 2
    return np.concatenate([[2 * c[0] - middle[0]], middle, [2 * c[-1] - middle[-1]]])
