"""Plotly figures from plain numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkscope._base.extras import needs
from ntkscope.report.palette import BLACK, BLUE, GREY, GRID, ORANGE, PURPLE, SKY, VERMILION

with needs("report"):
    import plotly.graph_objects as go

_STANDING = 6  # terms whose names fit beside one another on a phone
_SEEN = 1 / 300  # of an axis: about a pixel on a phone


def style(figure: go.Figure, height: int = 340) -> go.Figure:
    """The one look of every plot here."""
    figure.update_layout(
        template="simple_white",
        height=height,
        autosize=True,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0.0},
        hoverlabel={"namelength": -1},
    )
    figure.update_xaxes(automargin=True, showgrid=True, gridcolor=GRID)
    figure.update_yaxes(automargin=True, showgrid=True, gridcolor=GRID)
    return figure


_BRACKETED = re.compile(r"([_^])(?:\{([^{}]*)\}|\(([^()]*)\))")
# a name, a number: the k of F_kF_kᵀ ends where the F begins
_BARE = re.compile(r"(?<=[^\s_])([_^])(FB|∘?[A-Z]?[a-zα-ω]+|[A-Z]+|[−-]?[0-9]+(?:\.[0-9]+)?)")


def subscripts(text: str) -> str:
    """``λ_min``, ``F_(k+1)`` and ``x^(2r)`` with real indices, in the HTML of browsers and plotly."""

    def indexed(found: re.Match[str]) -> str:
        body = next(group for group in found.groups()[1:] if group is not None)
        if found[0].startswith("^("):
            body = f"({body})"  # A^(l) is no power
        tag = "sub" if found[1] == "_" else "sup"
        return f"<{tag}>{body}</{tag}>"

    return _BARE.sub(indexed, _BRACKETED.sub(indexed, text))


def eigenvalues(spectrum: Sequence[float]) -> go.Figure:
    """Eigenvalues in descending order on two log axes; those at or below 0 are left out and counted."""
    values = np.sort(np.asarray(spectrum, dtype=float))[::-1]
    keep = values > 0
    rank = np.arange(1, len(values) + 1)
    figure = go.Figure(
        go.Scatter(
            x=rank[keep], y=values[keep], mode="lines+markers",
            marker={"size": 4}, line={"color": BLUE, "width": 1.5}, name="eigenvalues",
            hovertemplate="rank %{x}<br>λ = %{y:.6g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(type="log", title="rank")
    figure.update_yaxes(type="log", title="eigenvalue of K", exponentformat="power")
    if not keep.all():
        figure.add_annotation(
            text=f"{int((~keep).sum())} eigenvalues ≤ 0 not shown", showarrow=False,
            xref="paper", yref="paper", x=0, y=0, xanchor="left", yanchor="bottom",
        )  # fmt: skip
    return style(figure)


def density(spectrum: Sequence[float], bins: int = 60) -> go.Figure:
    """Share of the eigenvalues in each of equal bins of log10 λ."""
    values = np.asarray(spectrum, dtype=float)
    logs = np.log10(values[values > 0])
    spread = logs.max() - logs.min() if len(logs) else 0.0
    counts, edges = np.histogram(logs, bins=bins if spread > 0 else 1)
    width = np.diff(edges)
    figure = go.Figure(
        go.Bar(
            x=10 ** (0.5 * (edges[1:] + edges[:-1])), y=counts / max(1, len(values)) / width,
            width=10 ** edges[1:] - 10 ** edges[:-1], marker={"color": SKY, "line": {"width": 0}},
            hovertemplate="λ ≈ %{x:.3g}<br>density %{y:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(type="log", title="eigenvalue of K", exponentformat="power")
    figure.update_yaxes(title="share per decade")
    return style(figure)


def layers(record: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Shares of the trace and of λ_min, side by side for each term; many terms a line each."""
    names = [subscripts(layer["name"]) for layer in record]
    lying = len(names) > _STANDING
    names_axis, shares_axis, where = ("y", "x", "h") if lying else ("x", "y", "v")
    figure = go.Figure()
    for key, label, color in (
        ("trace_share", "share of tr K", SKY),
        ("rayleigh_share", "share of λ<sub>min</sub>", VERMILION),
    ):
        figure.add_bar(
            **{names_axis: names, shares_axis: [100 * layer[key] for layer in record]},
            name=label, orientation=where, marker={"color": color},
            hovertemplate=f"%{{{names_axis}}}: %{{{shares_axis}:.2f}}%<extra></extra>",
        )  # fmt: skip
    if not lying:
        figure.update_yaxes(title="%")
        figure.update_xaxes(title="gradients with respect to")
        return style(figure)
    figure.update_xaxes(title="%")
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 11})
    style(figure, 110 + 26 * len(names))
    return figure.update_yaxes(showgrid=False)


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


def ladder(rungs: Sequence[Mapping[str, Any]], lower: float, upper: float) -> go.Figure:
    """The bounds on one log axis; a bound of 0 stands at the left edge with its name."""
    floor, left, right = _span(rungs)
    colors = {"lower": BLUE, "value": BLACK, "upper": ORANGE}
    symbols = {"lower": "triangle-right", "value": "diamond", "upper": "triangle-left"}
    figure = go.Figure()
    for side, label in (
        ("lower", "lower bound"),
        ("value", "λ<sub>min</sub>"),
        ("upper", "upper bound"),
    ):
        chosen = [rung for rung in rungs if rung["side"] == side]
        if not chosen:
            continue
        figure.add_scatter(
            x=[max(rung["value"], floor) for rung in chosen],
            y=[subscripts(rung["name"]) for rung in chosen],
            mode="markers+text", name=label,
            text=[f"{rung['value']:.3g}" for rung in chosen],
            textposition=[
                "middle right" if rung["value"] <= 10 * floor else "top center" for rung in chosen
            ],
            marker={"color": colors[side], "symbol": symbols[side], "size": 12},
            customdata=[[subscripts(rung["formula"]), rung["source"]] for rung in chosen],
            hovertemplate="%{y}: %{text}<br>%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        )  # fmt: skip
    if band_shows(rungs, lower, upper):
        figure.add_vrect(x0=lower, x1=upper, line_width=0, fillcolor=GREY, opacity=0.35)
    figure.update_traces(cliponaxis=False)
    figure.update_xaxes(
        type="log",
        title="value, in the units of K",
        exponentformat="power",
        range=[left, right],
        dtick=max(1, math.ceil((right - left) / 4)),
        tickangle=0,
    )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[subscripts(rung["name"]) for rung in rungs][::-1],
        title=None,
    )
    return style(figure, 380)


def weakest(rows: Sequence[int], shares: Sequence[float]) -> go.Figure:
    """The samples that carry most of the eigenvector of λ_min."""
    figure = go.Figure(
        go.Bar(
            x=[f"row {row}" for row in rows], y=[100 * share for share in shares],
            marker={"color": PURPLE}, hovertemplate="%{x}: %{y:.2f}%<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(title="share v<sub>i</sub>² (%)")
    return style(figure, 260)
