"""The page of ``ntkscope eig``. Draws the record it is given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.report import answers
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.html import Tile
from ntkscope.report.numbers import interval, number, share, shortly
from ntkscope.report.palette import SKY
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

Record = Mapping[str, Any]
_NAMES = {"smallest": "λ_min", "largest": "λ_max", "singular": "σ_min"}
_ABOUT = {
    False: "λ_min and λ_max are the smallest and largest eigenvalues of the matrix K in the file.",
    True: "σ_min is the smallest singular value of the matrix in the file.",
}


def page(record: Record, source: str, shape: Sequence[int]) -> str:
    """The eigenvalues asked for, how they were found, and the density where it was asked for."""
    rows: list[tuple[str, str, str]] = []
    for part, name in _NAMES.items():
        held = record.get(part, [])
        for index, one in enumerate([held] if isinstance(held, Mapping) else held):
            label = name if index == 0 else f"{name}, {index + 1}. from the end"
            value = interval(*(float(one[key]) for key in ("lower", "value", "upper")))
            rows.append((label, value, one["status"].replace("_", " ").lower()))
    first = record["singular"] if "singular" in record else record["smallest"][0]
    value, _, error = shortly(first)
    look = "good" if first["status"] == "OK" else "bad"
    tiles: list[Tile] = [(rows[0][0], value, look, f"{error} {rows[0][2]}".strip())]
    if "condition_number" in record:
        tiles.append(("condition number λ_max/λ_min", *shortly(record["condition_number"])))
    notes = [first["advice"], f"Found by {first['method']} in {number(first['seconds'], 3)} s; "
             f"the interval is that of {first['covers']}."]  # fmt: skip
    if first["multiplicity"] > 1:
        notes.append(f"{first['multiplicity']} eigenvalues lie within rounding of the smallest.")
    if first["note"]:
        notes.append(first["note"])
    sections = [Section("The eigenvalues", notes, "", ("which", "value", "status"), rows)]
    if "density" in record:
        sections.append(_density(record["density"], float(first["value"])))
    size = " × ".join(map(str, shape))
    return study(
        f"Spectrum of {source}", answers.matrix(record), f"{size} matrix", sections,
        about=_ABOUT["singular" in record], tiles=tiles,
    )  # fmt: skip


def _density(found: Record, smallest: float) -> Section:
    edges = found["edges"]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    chart = Chart(Axis("eigenvalue"), Axis("share of the eigenvalues (%)"))
    widths = [b - a for a, b in itertools.pairwise(edges)]
    percent = [100 * s for s in found["share"]]
    chart.add(Series("", middles, percent, "bars", SKY, widths=widths))
    chart.rules.append((smallest, "λ_min"))
    bins = zip(edges[:-1], edges[1:], found["share"], found["stderr"], strict=True)
    rows = [(f"{number(a)} … {number(b)}", share(s, e)) for a, b, s, e in bins]
    kind = "from all eigenvalues" if found["exact"] else "estimated; ± one standard error"
    totals = (
        f"Trace {number(found['trace'], 6)}, effective rank {number(found['effective_rank'])}, "
        f"log det {number(found['log_determinant'], 6)}; {kind}."
    )
    figure = draw(chart, "share of the eigenvalues in each of ten bins")
    return Section(
        "The distribution of the eigenvalues", (totals,), figure, ("from … to", "share"), rows
    )
