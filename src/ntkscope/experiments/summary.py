"""A sweep in plain values, for its page: how far it is, its curves, its fits, its errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ntkscope.experiments.design.settings import PlotSettings, SweepSettings
from ntkscope.experiments.reading.analysis import Fitted
from ntkscope.experiments.reading.table import Table
from ntkscope.experiments.sweep import Sweep

_MOST_CURVES = 12  # of the page; the table has all


def settings_of(settings: SweepSettings) -> dict[str, Any]:
    """What a settings file would say: defaults are left out."""
    kept: dict[str, Any] = settings.model_dump(
        mode="json", exclude_defaults=True, exclude_none=True
    )
    return kept


def summarize(
    sweep: Sweep, folder: Path, fits: Sequence[Fitted] = (), wanted: PlotSettings | None = None
) -> dict[str, Any]:
    """What ``result.json`` of a sweep holds and its page draws. Raises ValueError for an unknown column."""
    table, now = sweep.table(folder), sweep.progress(folder)
    failed = Counter(str(r["error"]) for r in table.records if "error" in r)
    wanted = wanted or sweep.settings.plot or _telling(table)
    return {
        "name": sweep.settings.name,
        "trials": {"done": now.done, "failed": now.failed, "total": now.total},
        "seconds": sweep.seconds(folder),
        "columns": list(table.columns),
        "drawn": None if wanted is None or not len(table) else _curves(table, wanted),
        "fits": [fit.to_dict() for fit in fits],
        "errors": [{"error": error, "count": count} for error, count in failed.most_common(10)],
        "settings": settings_of(sweep.settings),
    }


def _telling(table: Table) -> PlotSettings | None:
    """λ_min, or else the first result that is a number, over the coordinate with the most values."""
    if "seed" not in table.columns:
        return None
    at = table.columns.index("seed")
    y = [c for c in table.columns[at + 1 :] if _numeric(table, c)]
    x = [c for c in table.columns[:at] if _numeric(table, c)]
    if not x or not y:
        return None
    return PlotSettings(
        x=max(x, key=lambda c: len(set(_values(table, c)))), y="lambda_min" if "lambda_min" in y else y[0]
    )  # fmt: skip


def _values(table: Table, column: str) -> list[Any]:
    return [r[column] for r in table.records if column in r]


def _numeric(table: Table, column: str) -> bool:
    values = _values(table, column)
    return bool(values) and all(isinstance(v, (int, float)) for v in values)


def _curves(table: Table, wanted: PlotSettings) -> dict[str, Any]:
    """Mean, standard deviation and number of trials at each x, curve by curve."""
    rows = table.having(wanted.x, *wanted.ys, wanted.by)
    found: list[dict[str, Any]] = []
    for y in wanted.ys:
        for values, part in rows.groups(*((wanted.by,) if wanted.by else ())):
            of = [f"{wanted.by} = {values[0]}"] if wanted.by else []
            names = [y] * (len(wanted.ys) > 1 or not of) + of
            found.append({"name": ", ".join(names), **_points(part, wanted.x, y)})
    x, mean = ([v for curve in found for v in curve[key]] for key in ("x", "mean"))
    return {
        "x": wanted.x, "y": list(wanted.ys), "curves": found[:_MOST_CURVES],
        "left_out": max(0, len(found) - _MOST_CURVES),
        "log": [wanted.log or _wide(x), wanted.log or _wide(mean)],
    }  # fmt: skip


def _points(table: Table, x: str, y: str) -> Mapping[str, list[float]]:
    groups = {at: ys for at, ys in table.trials(x, y).items() if ys}
    return {
        "x": list(groups),
        "mean": [sum(ys) / len(ys) for ys in groups.values()],
        "deviation": [_deviation(ys) for ys in groups.values()],
        "trials": [len(ys) for ys in groups.values()],
    }


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def _wide(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)
