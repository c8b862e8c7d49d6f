"""The wide limit's section of the report. Draws the record it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.report import plots
from ntkscope.report.terminal import interval, number

with needs("report"):
    import plotly.graph_objects as go
    from markupsafe import Markup


def convergence(record: Mapping[str, Any]) -> go.Figure:
    """Relative distance to the limit over widths, every draw, and the fitted power."""
    points = record["points"]
    x = [p["width"] for p in points for _ in p["distances"]]
    y = [d for p in points for d in p["distances"]]
    middle = math.exp(sum(map(math.log, x)) / len(x)), math.exp(sum(map(math.log, y)) / len(y))
    ends = [min(x), max(x)]
    figure = go.Figure(
        go.Scatter(
            x=x, y=y, mode="markers", name="sampled networks", marker={"color": plots.BLUE},
            hovertemplate="width %{x:.4g}<br>distance %{y:.4g}<extra></extra>",
        )
    )  # fmt: skip
    for name, slope, dash, hue in (
        (f"fit: width^{record['exponent']:.3f}", record["exponent"], "solid", plots.BLUE),
        ("width^(−1/2)", -0.5, "dot", plots.GREY),
    ):
        line = [middle[1] * (e / middle[0]) ** slope for e in ends]
        figure.add_scatter(x=ends, y=line, mode="lines", name=name, line={"color": hue, "dash": dash})  # fmt: skip
    figure.update_xaxes(type="log", title="hidden width (geometric mean)")
    figure.update_yaxes(type="log", title="‖K − K̄‖ / ‖K̄‖", exponentformat="power")
    return plots.style(figure)


def lines(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) rows for a terminal."""
    limit, found = record["limiting"], record["convergence"]
    rows = [
        ("limiting λ_min", f"{interval(limit['lower'], limit['value'], limit['upper'])}   {limit['status']}"),
        ("‖K̄ − K‖₂", f"{number(record['distance'], 6)}, {100 * record['relative']:.3g}% of ‖K̄‖₂"),
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
    from ntkscope.report.html import figure_html, math_html

    body = [Markup("<section><h2>The infinite-width limit</h2><div class='scroll'><table>")]
    for label, text in lines(record):
        body.append(
            Markup("<tr><td>{}</td><td>{}</td></tr>").format(math_html(label), math_html(text))
        )
    body.append(Markup("</table></div>"))
    if record["convergence"] is not None:
        body.append(
            Markup(figure_html(convergence(record["convergence"]), "convergence over widths"))
        )
    body.append(
        Markup("<p class='soft small'>{}</p></section>").format(
            math_html(
                "K̄ is the limiting kernel at this network's widths, in the units of K. By Weyl, "
                "|λ_min(K) − λ_min(K̄)| is at most their distance."
            )
        )
    )
    return {**record, "title": "The infinite-width limit", "lines": lines(record),
            "html": str(Markup("").join(body))}  # fmt: skip
