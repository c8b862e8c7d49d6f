"""The page of `ntkscope check`: one row a statement, its numbers behind it. Draws plain records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.report import answers, palette
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.html import render_page
from ntkscope.report.svg import draw

Record = Mapping[str, Any]
_ORDERS = {"Ω": palette.BLUE, "O": palette.ORANGE, "Θ": palette.PURPLE}
_CURVES = (
    palette.GREY, palette.VERMILION, palette.BLUE, palette.ORANGE, palette.GREEN, palette.PURPLE,
)  # fmt: skip
_COLOURS = {
    "holds": palette.GREEN, "violated": palette.VERMILION, "fails on this draw": palette.ORANGE,
    "open": palette.PURPLE, "vacuous": palette.SKY,
}  # fmt: skip  # of outcomes; what is below rounding is grey


def _positive(x: Any) -> float | None:
    return float(x) if isinstance(x, (int, float)) and x > 0 else None


def inequalities(records: Sequence[Record]) -> Chart:
    """Every inequality as smaller side / larger side: 1 is tight, to the right of 1 is violated."""
    found: dict[str, list[tuple[float, str, str]]] = {}
    for record in records:
        for claim in record["inequalities"]:
            left, right = _positive(claim["left"]), _positive(claim["right"])
            marks = found.setdefault(claim["outcome"], [])
            if left is None or right is None:
                continue
            ratio = right / left if claim["relation"] == "≥" else left / right
            marks.append((max(ratio, 1e-12), record["id"], claim["name"]))
    chart = _by_statement(records, found, _COLOURS, "bounded side / bound", "ratio")
    chart.rules.append((1.0, "tight"))
    return chart


def constants(records: Sequence[Record]) -> Chart:
    """The constant that every Ω, O and Θ would need on this instance."""
    found: dict[str, list[tuple[float, str, str]]] = {order: [] for order in _ORDERS}
    for record in records:
        for item in record["constants"]:
            constant = _positive(item["constant"])
            if constant is not None:
                found[item["order"]].append((constant, record["id"], item["name"]))
    return _by_statement(records, found, _ORDERS, "measured / expression", "constant")


def _by_statement(
    records: Sequence[Record],
    found: Mapping[str, Sequence[tuple[float, str, str]]],
    colours: Mapping[str, str],
    title: str,
    what: str,
) -> Chart:
    """Marks of (value, statement, name), a line for each statement that has one."""
    having = {statement for marks in found.values() for _, statement, _ in marks}
    shown = list(dict.fromkeys(r["id"] for r in records if r["id"] in having))
    chart = Chart(
        Axis(title, log=True), Axis(categories=shown[::-1]), height=90 + 22 * max(4, len(shown))
    )
    for kind, marks in found.items():
        hover = [f"{statement}\n{name}\n{what} {value:.4g}" for value, statement, name in marks]
        chart.add(
            Series(
                kind, [m[0] for m in marks], [m[1] for m in marks], "marks",
                colours.get(kind, palette.GREY), opacity=0.85, hover=hover, legend=bool(marks),
            )
        )  # fmt: skip
    return chart


def verdict(record: Record) -> Chart:
    """One verdict: both sides of each inequality, joined."""
    chart = Chart(Axis("left (dot), right (bar)", log=True))
    names = []
    for claim in record["inequalities"]:
        left, right = _positive(claim["left"]), _positive(claim["right"])
        if left is None or right is None:
            continue
        names.append(claim["name"])
        chart.add(
            Series(
                "", [left, right], [claim["name"]] * 2, "both",
                _COLOURS.get(claim["outcome"], palette.GREY), marker=["dot", "bar"],
                hover=[f"{left:.5g}", f"{right:.5g}"],
            )
        )  # fmt: skip
    chart.y = Axis(categories=list(dict.fromkeys(names))[::-1])
    chart.height = 90 + 26 * max(3, len(names))
    return chart


def curves(table: Record) -> Chart:
    """The columns that a table asks to have drawn, over the first of them, on log axes."""
    position = {name: k for k, name in enumerate(table["columns"])}
    along, *names = table["plot"]
    chart = Chart(Axis(along, log=True), Axis(log=True), height=420)
    for name, colour in zip(names, _CURVES, strict=False):
        x = [row[position[along]] for row in table["rows"]]
        y = [_positive(row[position[name]]) for row in table["rows"]]
        values = [math.nan if v is None else v for v in y]
        chart.add(Series(name, x, values, "both", colour, size=3))
    return chart


def page(records: Sequence[Record], settings: Mapping[str, Any]) -> str:
    """The self-contained page of many verdicts on one instance."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record["outcome"]] = counts.get(record["outcome"], 0) + 1
    figures = {
        "inequalities": draw(inequalities(records), "tightness of every inequality"),
        "constants": draw(constants(records), "constants of every scaling statement"),
    }
    drawn = {
        (record["id"], index): draw(curves(table), table["title"])
        for record in records
        for index, table in enumerate(record["tables"])
        if table.get("plot")
    }
    many = len(records) > 1
    title = f"{len(records)} statements on {settings.get('network')}" if many else records[0]["id"]
    law = f", law {settings['distribution']}" if settings.get("distribution") else ""
    return render_page(
        "check.html", title, answers.verdicts(records),
        f"{'' if many else str(settings.get('network')) + ', '}{settings.get('data')}: "
        f"N = {settings.get('N')}, d = {settings.get('d')}, seed {settings.get('seed')}{law}",
        tiles=[(word, str(n), look(word)) for word, n in counts.items()] if many else (),
        records=records, counts=counts, figures=figures, drawn=drawn, bad=answers.BAD, good=answers.GOOD,
    )  # fmt: skip


def look(outcome: str) -> str:
    """How an outcome is coloured."""
    return "bad" if outcome in answers.BAD else "good" if outcome in answers.GOOD else ""
