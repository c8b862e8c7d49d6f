"""The page of `ntkscope check`: one row a statement, its numbers behind it. Draws plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.report import palette, plots
from ntkscope.report.html import figure_html, render_page

with needs("report"):
    import plotly.graph_objects as go

Record = Mapping[str, Any]
_COLOURS = {True: palette.GREEN, False: palette.VERMILION, None: palette.GREY}
_WORDS = {True: "holds", False: "violated", None: "not decided"}


def _positive(x: Any) -> float | None:
    return float(x) if isinstance(x, (int, float)) and x > 0 else None


def inequalities(records: Sequence[Record]) -> go.Figure:
    """Every inequality as smaller side / larger side: 1 is tight, to the right of 1 is violated."""
    names = [r["id"] for r in records]
    figure = go.Figure()
    for holds in (True, False, None):
        x, y, text = [], [], []
        for record in records:
            for claim in record["inequalities"]:
                left, right = _positive(claim["left"]), _positive(claim["right"])
                if claim["holds"] is not holds or left is None or right is None:
                    continue
                ratio = right / left if claim["relation"] == "≥" else left / right
                x.append(max(ratio, 1e-12))
                y.append(record["id"])
                text.append(claim["name"])
        if x:
            figure.add_trace(go.Scatter(
                x=x, y=y, text=text, mode="markers", name=_WORDS[holds],
                marker={"color": _COLOURS[holds], "size": 8, "opacity": 0.7},
                hovertemplate="%{text}<br>ratio %{x:.4g}<extra>%{y}</extra>",
            ))  # fmt: skip
    figure.add_vline(x=1.0, line={"color": palette.BLACK, "width": 1, "dash": "dot"})
    figure.update_xaxes(type="log", title="bounded side / bound", exponentformat="power")
    shown = [n for n in names if any(n in (trace.y or ()) for trace in figure.data)]
    figure.update_yaxes(categoryorder="array", categoryarray=shown[::-1])
    return plots.style(figure, height=90 + 22 * max(4, len(shown)))


def constants(records: Sequence[Record]) -> go.Figure:
    """The constant that every Ω, O and Θ would need on this instance."""
    figure = go.Figure()
    colours = {"Ω": palette.BLUE, "O": palette.ORANGE, "Θ": palette.PURPLE}
    for order, colour in colours.items():
        x, y, text = [], [], []
        for record in records:
            for scaling in record["scalings"]:
                constant = _positive(scaling["constant"])
                if scaling["order"] == order and constant is not None:
                    x.append(constant)
                    y.append(record["id"])
                    text.append(scaling["name"])
        if x:
            figure.add_trace(go.Scatter(
                x=x, y=y, text=text, mode="markers", name=order,
                marker={"color": colour, "size": 8, "opacity": 0.7},
                hovertemplate="%{text}<br>constant %{x:.4g}<extra>%{y}</extra>",
            ))  # fmt: skip
    figure.update_xaxes(type="log", title="measured / expression", exponentformat="power")
    shown = list(dict.fromkeys(r["id"] for r in records if r["scalings"]))
    figure.update_yaxes(categoryorder="array", categoryarray=shown[::-1])
    return plots.style(figure, height=90 + 22 * max(4, len(shown)))


def verdict(record: Record) -> go.Figure:
    """One verdict: both sides of each inequality, joined."""
    figure = go.Figure()
    for claim in record["inequalities"]:
        left, right = _positive(claim["left"]), _positive(claim["right"])
        if left is None or right is None:
            continue
        colour = _COLOURS[claim["holds"]]
        figure.add_trace(go.Scatter(
            x=[left, right], y=[claim["name"]] * 2, mode="lines+markers", showlegend=False,
            line={"color": colour, "width": 2},
            marker={"color": colour, "size": 9, "symbol": ["circle", "line-ns-open"]},
            hovertemplate="%{x:.5g}<extra></extra>",
        ))  # fmt: skip
    figure.update_xaxes(type="log", title="left (dot), right (bar)", exponentformat="power")
    return plots.style(figure, height=90 + 26 * max(3, len(record["inequalities"])))


def curves(table: Record) -> go.Figure:
    """The columns that a table asks to have drawn, over the first of them, on log axes."""
    position = {name: k for k, name in enumerate(table["columns"])}
    along, *names = table["plot"]
    colours = (
        palette.GREY,
        palette.VERMILION,
        palette.BLUE,
        palette.ORANGE,
        palette.GREEN,
        palette.PURPLE,
    )
    figure = go.Figure()
    for name, colour in zip(names, colours, strict=False):
        pairs = [(row[position[along]], _positive(row[position[name]])) for row in table["rows"]]
        figure.add_trace(go.Scatter(
            x=[x for x, _ in pairs], y=[y for _, y in pairs], mode="lines+markers",
            name=plots.subscripts(name), line={"color": colour, "width": 2},
            hovertemplate="%{x:.4g}: %{y:.4g}<extra>%{fullData.name}</extra>",
        ))  # fmt: skip
    figure.update_xaxes(type="log", title=plots.subscripts(along))
    figure.update_yaxes(type="log", exponentformat="power")
    return plots.style(figure, height=420)


def page(records: Sequence[Record], settings: Mapping[str, Any]) -> str:
    """The self-contained page of many verdicts on one instance."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record["outcome"]] = counts.get(record["outcome"], 0) + 1
    figures = {
        "inequalities": figure_html(inequalities(records), "tightness of every inequality"),
        "constants": figure_html(constants(records), "constants of every scaling statement"),
    }
    drawn = {
        (record["id"], index): figure_html(curves(table), table["title"])
        for record in records
        for index, table in enumerate(record["tables"])
        if table.get("plot")
    }
    return render_page(
        "check.html", "Statements on an instance", records=records, settings=settings,
        counts=counts, figures=figures, drawn=drawn,
    )  # fmt: skip
