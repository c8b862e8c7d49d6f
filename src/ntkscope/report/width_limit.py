"""The wide limit's section of the report. Draws the record it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ntkscope.report.chart import DOTTED, Axis, Chart, Series
from ntkscope.report.numbers import interval, number, with_error
from ntkscope.report.palette import BLUE, GREY


def convergence(record: Mapping[str, Any]) -> Chart:
    """Relative distance to the limit over widths, every draw, and the fitted power."""
    points = record["points"]
    x = [p["width"] for p in points for _ in p["distances"]]
    y = [d for p in points for d in p["distances"]]
    middle = math.exp(sum(map(math.log, x)) / len(x)), math.exp(sum(map(math.log, y)) / len(y))
    ends = [min(x), max(x)]
    chart = Chart(Axis("hidden width (geometric mean)", log=True), Axis("‖K − K̄‖ / ‖K̄‖", log=True))
    hover = [f"width {a:.4g}, distance {b:.4g}" for a, b in zip(x, y, strict=True)]
    chart.add(Series("sampled networks", x, y, "marks", BLUE, hover=hover))
    for name, slope, dash, hue in (
        (f"fit: width^{{{record['exponent']:.3f}}}", record["exponent"], "", BLUE),
        ("width^{−1/2}", -0.5, DOTTED, GREY),
    ):
        line = [middle[1] * (e / middle[0]) ** slope for e in ends]
        chart.add(Series(name, ends, line, color=hue, dash=dash))
    return chart


def lines(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) rows for a terminal."""
    limit, found = record["limiting"], record["convergence"]
    rows = [
        ("limiting λ_min", f"{interval(limit['lower'], limit['value'], limit['upper'])}   {limit['status']}"),
        (
            "‖K̄ − K‖₂",
            f"{with_error(record['distance'], record['distance_error'])}, "
            f"{100 * record['relative']:.3g}% of ‖K̄‖₂",
        ),
    ]  # fmt: skip
    if found is not None:
        rows.append(
            (
                "over widths",
                f"distance ∝ width^{found['exponent']:.3f}, 95% within "
                f"[{found['lower']:.3f}, {found['upper']:.3f}] (−1/2 expected; "
                f"first {found['n_samples']} samples)",
            )
        )
    return rows + ([("", record["note"])] if record["note"] else [])


def section(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its ``html`` and ``lines``, as the report's extra sections are."""
    from ntkscope.report.html import environment
    from ntkscope.report.svg import draw

    rows, found = lines(record), record["convergence"]
    figure = draw(convergence(found), "convergence over widths") if found else ""
    terms = [
        (
            t["name"],
            "–" if math.isnan(t["relative"]) else f"{100 * t['relative']:.3g}%",
            number(t["trace"]), number(t["limiting_trace"]),
        )
        for t in record["terms"]
    ]  # fmt: skip
    page = (
        environment()
        .get_template("width_limit.html")
        .render(
            rows=rows, figure=figure, terms=terms, n=record["terms"][0]["n_samples"] if terms else 0
        )
    )
    return {**record, "title": "The infinite-width limit", "lines": rows, "html": page}
