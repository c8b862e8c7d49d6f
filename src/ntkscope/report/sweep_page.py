"""The pages of ``ntkscope sweep`` and ``check --sweep``. Draws the records it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.report import answers
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.html import Tile
from ntkscope.report.laws import LAW, law, symbol
from ntkscope.report.numbers import number
from ntkscope.report.palette import PALETTE
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

with needs("report"):
    from markupsafe import Markup

Record = Mapping[str, Any]
_MOST_ROWS = 300


def page(record: Record) -> str:
    """How far the sweep is, its curves, its fits, its errors."""
    trials = record["trials"]
    tiles: list[Tile] = [
        ("trials done", f"{trials['done']:,} of {trials['total']:,}"),
        ("failed", f"{trials['failed']:,}", "bad" if trials["failed"] else ""),
        ("wall time", f"{number(record['seconds'], 3)} s"),
    ]
    sections = [] if record["drawn"] is None else [_drawn(record["drawn"])]
    if record["fits"]:
        text = (
            "The constant c of y = c·x^e at the claimed exponent e (1 where none is claimed), the exponent left free, "
            "and the straight line y = a + b·x; in brackets 95% intervals. “consistent”: the claimed exponent lies in them."
        )
        laws = [law(f["constant"]) for f in record["fits"] if f["constant"]]
        sections.append(Section("Fits", (*map(answers.fit, record["fits"]), text), "", LAW, laws))
    if record["errors"]:
        rows_of_errors = [(str(e["count"]), e["error"]) for e in record["errors"]]
        sections.append(Section("What failed", (), "", ("trials", "error"), rows_of_errors))
    names = Markup(", ").join(Markup("<code>{}</code>").format(c) for c in record["columns"])
    sections.append(
        Section("The table", ("table.csv holds a row for each trial, with the columns", names))
    )
    return study(f"Sweep {record['name']}", answers.sweep(record), "", sections, tiles=tiles)


def _drawn(drawn: Record) -> Section:
    log_x, log_y = drawn["log"]
    x_name, y_name = symbol(drawn["x"]), ", ".join(map(symbol, drawn["y"]))
    chart = Chart(Axis(x_name, log=log_x), Axis(y_name, log=log_y), height=400)
    rows = []
    for curve, color in zip(drawn["curves"], PALETTE * 2, strict=False):
        chart.add(
            Series(symbol(curve["name"]), curve["x"], curve["mean"], "both", color, size=3,
                   errors=curve["deviation"])
        )  # fmt: skip
        for x, mean, spread, trials in zip(
            *(curve[key] for key in ("x", "mean", "deviation", "trials")), strict=True
        ):
            rows.append(
                (
                    symbol(curve["name"]),
                    number(x, 6),
                    f"{number(mean)} ± {number(spread, 2)}",
                    str(trials),
                )
            )
    notes = [
        f"Means over the trials of each point; the bars are one standard deviation of {y_name}."
    ]
    if drawn["left_out"]:
        notes.append(f"{drawn['left_out']} more curves are in table.csv.")
    if len(rows) > _MOST_ROWS:
        notes.append(f"The first {_MOST_ROWS} of {len(rows)} points are listed.")
    header = ("curve", x_name, f"{y_name}, mean ± deviation", "trials")
    figure = draw(chart, f"{y_name} over {x_name}")
    return Section(f"{y_name} over {x_name}", notes, figure, header, rows[:_MOST_ROWS])


_SWEPT = (
    "Each conclusion says measured = order(expression). The slope is that of log measured over log expression as N, d "
    "and all widths grow together: 1 for Θ, at least 1 for Ω, at most 1 for O. Where the expression does not change, "
    "the slope is over the factor of growth and 0 is claimed."
)


def swept_page(found: Sequence[Record], network: str, data: str) -> str:
    """The page of ``check --sweep``: what the growth says of each statement."""
    sections = []
    for one in found:
        rows = [
            (c["name"], c["order"], _slope(c["whole"]), _slope(c["late"]), f"{c['claimed']:g}",
             f"{number(c['constant_low'])} … {number(c['constant_high'])}",
             c["outcome"] + (f"; {c['note']}" if c["note"] else ""))
            for c in one["claims"]
        ]  # fmt: skip
        counts = ", ".join(f"{count} {word}" for word, count in one["outcomes"].items())
        notes = [one["sentence"], f"{one['trials']} trials, {one['failed']} failed: {counts}."]
        if not rows:
            notes.append("No order to fit: the statement has none, or none on this network.")
        if one["outside"]:
            notes.append(f"In {one['outside']} trials a hypothesis is not met.")
        header = (
            "conclusion",
            "order",
            "slope",
            "larger half",
            "claimed",
            "measured / expression",
            "outcome",
        )
        sections.append(Section(f"{one['id']}: {one['title']}", notes, "", header, rows))
    return study(
        f"Statements as {network} grows", answers.swept(found), data, sections, about=_SWEPT
    )


def _slope(law: Record | None) -> str:
    if law is None:
        return "—"
    e = law["exponent"]
    return f"{e['value']:.3g} [{e['low']:.3g}, {e['high']:.3g}]"
