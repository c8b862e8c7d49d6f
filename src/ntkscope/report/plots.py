"""Charts of an inspection, from plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.palette import BLACK, BLUE, ORANGE, PURPLE, SKY, VERMILION

_STANDING = 6  # terms whose names fit beside one another on a phone
_SEEN = 1 / 300  # of an axis: about a pixel on a phone


def eigenvalues(spectrum: Sequence[float], error: float = 0.0) -> Chart:
    """Eigenvalues in descending order on two log axes; those at or below 0 are left out and counted.

    ``error``, where it is given: how far each may be off.
    """
    values = np.sort(np.asarray(spectrum, dtype=float))[::-1]
    keep = values > 0
    rank = np.arange(1, len(values) + 1)
    shown = values[keep].tolist()
    chart = Chart(Axis("rank", log=True), Axis("eigenvalue of K", log=True))
    ranks = rank[keep].tolist()
    chart.add(
        Series(
            "", ranks, shown, "both", BLUE, width=1.5, size=2.5,
            hover=[f"rank {r}, λ = {v:.6g}" for r, v in zip(ranks, shown, strict=True)],
        )
    )  # fmt: skip
    if shown:
        last = Series("λ_min", ranks[-1:], shown[-1:], "marks", VERMILION, size=5.5)
        last.written, last.places, last.legend = [f"λ_min = {shown[-1]:.3g}"], ["left"], False
        if keep.all():
            chart.add(last)
    if not keep.all():
        chart.note = f"{int((~keep).sum())} eigenvalues ≤ 0 not shown"
    if error:
        told = f"each within {error:.2g}"
        chart.note = f"{chart.note}, {told}" if chart.note else told
    return chart


def density(spectrum: Sequence[float], bins: int = 60) -> Chart:
    """Share of the eigenvalues in each of equal bins of log10 λ."""
    values = np.asarray(spectrum, dtype=float)
    logs = np.log10(values[values > 0])
    spread = logs.max() - logs.min() if len(logs) else 0.0
    chart = Chart(Axis("eigenvalue of K", log=True), Axis("share per decade"))
    if not len(logs):
        chart.note = "no eigenvalue is above 0"
        return chart
    counts, edges = np.histogram(logs, bins=bins if spread > 0 else 1)
    width = np.diff(edges)
    low, high = 10 ** edges[:-1], 10 ** edges[1:]
    shares = counts / len(values) / width
    bars = Series(
        "", ((low + high) / 2).tolist(), shares.tolist(), "bars", SKY, widths=(high - low).tolist(),
        hover=[f"λ in {a:.3g} … {b:.3g}: {s:.3g}" for a, b, s in zip(low, high, shares, strict=True)],
    )  # fmt: skip
    chart.add(bars)
    if len(logs) == len(values):
        chart.rules.append((float(values.min()), "λ_min"))
    return chart


def layers(record: Sequence[Mapping[str, Any]]) -> Chart:
    """Shares of the trace and of λ_min, side by side for each term; many terms a line each."""
    names = [layer["name"] for layer in record]
    lying = len(names) > _STANDING
    if lying:
        chart = Chart(
            Axis("%"), Axis(categories=names[::-1], grid=False), height=110 + 26 * len(names)
        )
    else:
        chart = Chart(Axis("gradients with respect to", categories=names), Axis("%"))
    for key, label, color in (
        ("trace_share", "share of tr K", SKY),
        ("rayleigh_share", "share of λ_min", VERMILION),
    ):
        shares = [100 * layer[key] for layer in record]
        x, y = (shares, names) if lying else (names, shares)
        hover = [f"{n}: {v:.2f}%" for n, v in zip(names, shares, strict=True)]
        chart.add(Series(label, x, y, "bars", color, hover=hover))
    return chart


_NOTHING = 1e-300  # a bound below it stands where 0 does


def _span(rungs: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """The value at which a bound of 0 stands, and log10 of the axis's ends."""
    positive = [rung["value"] for rung in rungs if rung["value"] > _NOTHING]
    floor = min(positive) / 10 if positive else 1e-16
    top = max([floor, *positive])
    return floor, math.log10(floor) - 0.3, math.log10(top) + 0.08 * math.log10(top / floor) + 0.5


def band_shows(rungs: Sequence[Mapping[str, Any]], lower: float, upper: float) -> bool:
    """Whether the interval of λ_min is wide enough on the axis of :func:`ladder` to be seen."""
    if not 0 < lower < upper < math.inf:
        return False
    _, left, right = _span(rungs)
    return math.log10(upper / lower) >= _SEEN * (right - left)


def ladder(rungs: Sequence[Mapping[str, Any]], lower: float, upper: float) -> Chart:
    """The bounds on one log axis; a bound of 0 stands at the left edge with its name."""
    floor, left, right = _span(rungs)
    names = [rung["name"] for rung in rungs]
    chart = Chart(
        Axis("value, in the units of K", log=True, ends=(10**left, 10**right)),
        Axis(categories=names[::-1]), height=110 + 34 * len(names),
    )  # fmt: skip
    sides = {
        "lower": ("lower bound", BLUE, "right"),
        "value": ("λ_min", BLACK, "diamond"),
        "upper": ("upper bound", ORANGE, "left"),
    }
    for side, (label, color, marker) in sides.items():
        chosen = [rung for rung in rungs if rung["side"] == side]
        chart.add(
            Series(
                label, [max(rung["value"], floor) for rung in chosen], [r["name"] for r in chosen],
                "marks", color, size=5, marker=marker,
                hover=[f"{r['value']:.5g}\n{r['formula']}\n{r['source']}" for r in chosen],
                written=[f"{r['value']:.3g}" for r in chosen],
                places=["right" if r["value"] <= 10 * floor else "above" for r in chosen],
                legend=bool(chosen),
            )
        )  # fmt: skip
    if band_shows(rungs, lower, upper):
        chart.bands.append((lower, upper))
    return chart


def weakest(rows: Sequence[int], shares: Sequence[float]) -> Chart:
    """The samples that carry most of the eigenvector of λ_min."""
    names = [f"row {row}" for row in rows]
    chart = Chart(Axis(categories=names), Axis("share v_i² (%)"), height=260)
    percent = [100 * share for share in shares]
    hover = [f"{n}: {p:.2f}%" for n, p in zip(names, percent, strict=True)]
    chart.add(Series("", names, percent, "bars", PURPLE, hover=hover))
    return chart
