"""The page of ``ntkscope width``. Draws the record it is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.report import answers
from ntkscope.report.chart import DASHED, DOTTED, Axis, Chart, Series
from ntkscope.report.html import Tile
from ntkscope.report.numbers import number, sentence
from ntkscope.report.palette import BLACK, BLUE, ORANGE, VERMILION
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

Record = Mapping[str, Any]


_ABOUT = (
    "K is the neural tangent kernel of a sampled network, λ_min and λ_max its smallest and largest eigenvalues; "
    "the limiting kernel is that of infinite widths, in the same units."
)


def width_page(record: Record, title: str, subtitle: str) -> str:
    """The page of ``ntkscope width``."""
    found = record["width"]
    tiles: list[Tile] = [
        ("smallest width", "none found" if found is None else str(found)),
        ("too narrow", "—" if record["too_narrow"] is None else str(record["too_narrow"])),
        (f"{record['quantity']} of the limiting kernel", number(record["limit"])),
        ("asked for", number(record["threshold"])),
    ]
    guess, notes = record["predicted"]["prediction"], [sentence(record["reason"])]
    if guess is None:
        notes.append(f"No prediction from N, d and the norms: {record['predicted']['refused']}.")
    else:
        value = f"{number(guess['value'])} ± {number(guess['error'], 2)}"
        tiles.append(("λ_min of the limit predicted from N, d and the norms alone", value))
    points = record["points"]
    shown = [p for p in points if p["mean"] > 0]
    if len(shown) < len(points):
        lost = ", ".join(str(p["width"]) for p in points if p["mean"] <= 0)
        notes.append(f"Not above 0, so not on the logarithmic axis: width {lost}.")
    rows = [
        [
            str(p["width"]), f"{number(p['mean'])} ± {number(p['spread'], 2)}",
            number(min(p["values"])), f"{p['mean'] / p['limit']:.1%}" if p["limit"] else "—",
        ]
        for p in points
    ]  # fmt: skip
    figure = draw(curve(record, shown), f"{record['quantity']} over widths") if points else ""
    sections = [Section("The curve", tuple(notes), figure)]
    if rows:
        header = ("width", record["quantity"], "smallest", "share of the limit")
        sections.append(Section("Measured", (), "", header, rows))
    conditions = [[name, formula, str(n)] for name, formula, n in record["conditions"]]
    told = "With every constant that they hide set to 1; they are conditions that suffice."
    sections.append(Section("What the theorems ask for", (told,), rows=conditions))
    return study(title, answers.width(record), subtitle, sections, about=_ABOUT, tiles=tiles)


def curve(record: Record, shown: Sequence[Record]) -> Chart:
    """The quantity over the width: sampled networks, the fitted law, the limit and the goal.

    The axis ends where the measured values, the limit and the goal do: the fitted law falls to 0 at small
    widths and would press everything else together.
    """
    law, points = record["concentration"], record["points"]
    chart = Chart(Axis("hidden width", log=True), Axis(record["quantity"], log=True))
    goal = record["threshold"]
    within = [goal, *(p["limit"] for p in points), *(p["mean"] for p in shown)]
    within += [p["mean"] + p["spread"] for p in shown]
    within += [p["mean"] - p["spread"] for p in shown if p["spread"] < 0.9 * p["mean"]]
    within = [v for v in within if 0 < v < math.inf]
    chart.y.ends = min(within) / 1.3, max(within) * 1.3
    if points:
        low, high = points[0]["width"], 2 * points[-1]["width"]
        x = [low * (high / low) ** (i / 99) for i in range(100)]
        limits = [_interpolate(points, n) for n in x]
        if law is not None:
            share = [1 - law["loss"] * n ** -law["exponent"] for n in x]
            kept = [(n, s * limit) for n, s, limit in zip(x, share, limits, strict=True) if s > 0]
            chart.add(
                Series("fitted: limit · (1 − c·width^{−a})", [n for n, _ in kept],
                       [y for _, y in kept], color=BLUE)
            )  # fmt: skip
        chart.add(Series("limiting kernel", x, limits, color=ORANGE, dash=DASHED))
        chart.add(Series("goal", x, [goal] * len(x), color=VERMILION, dash=DOTTED))
    chart.add(
        Series(
            "sampled networks, mean ± one standard deviation", [p["width"] for p in shown],
            [p["mean"] for p in shown], "marks", BLACK, errors=[p["spread"] for p in shown],
        )
    )  # fmt: skip
    return chart


def _interpolate(points: Sequence[Record], width: float) -> float:
    """The limit at a width, log-log between the measured ones and constant beyond them."""
    for left, right in itertools.pairwise(points):
        if left["width"] <= width <= right["width"]:
            share = math.log(width / left["width"]) / math.log(right["width"] / left["width"])
            return float(left["limit"] * (right["limit"] / left["limit"]) ** share)
    end = points[0] if width < points[0]["width"] else points[-1]
    return float(end["limit"])
