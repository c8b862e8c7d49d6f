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
_COLOURS = {"holds": palette.GREEN, "violated": palette.VERMILION}  # of outcomes; others are grey


def _positive(x: Any) -> float | None:
    return float(x) if isinstance(x, (int, float)) and x > 0 else None


def inequalities(records: Sequence[Record]) -> go.Figure:
    """Every inequality as smaller side / larger side: 1 is tight, to the right of 1 is violated."""
    names = [r["id"] for r in records]
    figure = go.Figure()
    outcomes = dict.fromkeys(c["outcome"] for r in records for c in r["inequalities"])
    for outcome in outcomes:
        x, y, text = [], [], []
        for record in records:
            for claim in record["inequalities"]:
                left, right = _positive(claim["left"]), _positive(claim["right"])
                if claim["outcome"] != outcome or left is None or right is None:
                    continue
                ratio = right / left if claim["relation"] == "≥" else left / right
                x.append(max(ratio, 1e-12))
                y.append(record["id"])
                text.append(claim["name"])
        if x:
            figure.add_trace(go.Scatter(
                x=x, y=y, text=text, mode="markers", name=outcome,
                marker={"color": _COLOURS.get(outcome, palette.GREY), "size": 8, "opacity": 0.7},
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
            for item in record["constants"]:
                constant = _positive(item["constant"])
                if item["order"] == order and constant is not None:
                    x.append(constant)
                    y.append(record["id"])
                    text.append(item["name"])
        if x:
            figure.add_trace(go.Scatter(
                x=x, y=y, text=text, mode="markers", name=order,
                marker={"color": colour, "size": 8, "opacity": 0.7},
                hovertemplate="%{text}<br>constant %{x:.4g}<extra>%{y}</extra>",
            ))  # fmt: skip
    figure.update_xaxes(type="log", title="measured / expression", exponentformat="power")
    shown = list(dict.fromkeys(r["id"] for r in records if r["constants"]))
    figure.update_yaxes(categoryorder="array", categoryarray=shown[::-1])
    return plots.style(figure, height=90 + 22 * max(4, len(shown)))


def verdict(record: Record) -> go.Figure:
    """One verdict: both sides of each inequality, joined."""
    figure = go.Figure()
    for claim in record["inequalities"]:
        left, right = _positive(claim["left"]), _positive(claim["right"])
        if left is None or right is None:
            continue
        colour = _COLOURS.get(claim["outcome"], palette.GREY)
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
