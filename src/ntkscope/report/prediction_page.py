"""The page of ``ntkscope predict``. Draws the record it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.report import answers
from ntkscope.report.chart import DASHED, Axis, Chart, Series
from ntkscope.report.html import Tile
from ntkscope.report.numbers import number, predicted, share, span
from ntkscope.report.palette import BLUE, SKY, VERMILION
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

Record = Mapping[str, Any]
_ABOUT = (
    "K̄ is the neural tangent kernel at infinite widths, in the units of the finite network's kernel K; λ_min is its "
    "smallest eigenvalue on N random samples in d dimensions. Nothing was computed on data."
)


def page(record: Record) -> str:
    """The prediction, where it comes from, and the curve where one was asked for."""
    found, finite = record["prediction"], record["empirical"]
    rows = [
        ("λ_min of the limiting kernel K̄", _limit(found)),
        ("regime", f"{found['regime']}: {found['reason']}"),
    ]
    rows.append(
        ("λ_min at these widths", record["refused"] if finite is None else predicted(finite))
    )
    rows += [
        ("closest pair of samples", f"about {number(found['pair_angle'], 3)} rad"),
        ("edge of the bulk", number(found["edge"], 6)),
        ("holds for", found["validity"]),
    ]
    if record.get("taken"):
        rows.append(("taken", record["taken"]))
    tiles: list[Tile] = [("λ_min of the limiting kernel", _limit(found))]
    if finite is not None and finite["regime"] != "zero":
        tiles.append(("λ_min at these widths", span(finite["lower"], finite["upper"])))
    sections = [Section("The prediction", (), rows=rows)]
    if "curve" in record:
        sections.insert(0, _curve(record["curve"]))
    if found["degrees"]:
        sections.append(_degrees(found["degrees"]))
    size = f"N = {found['n_samples']:,.0f}, d = {found['dim']}, {found['data']}"
    return study(
        f"λ_min predicted for {found['network']}", answers.prediction(record), size, sections,
        about=_ABOUT, tiles=tiles,
    )  # fmt: skip


def _limit(found: Record) -> str:
    if found["regime"] == "zero":
        return "0 exactly"
    if found["regime"] == "below rounding":
        return f"0 … {number(found['upper'], 2)}"
    return f"{number(found['value'], 6)} ± {number(found['error'], 2)}"


def _curve(curve: Record) -> Section:
    x, found = curve["values"], curve["predictions"]
    over = {"samples": "N, samples", "dim": "d, inputs"}[curve["over"]]
    chart = Chart(Axis(over, log=True), Axis("λ_min of K̄", log=True))
    for key, name, color, dash in (
        ("lower", "nine samples of ten, lower end", SKY, ""), ("upper", "upper end", SKY, ""),
        ("edge", "edge of the bulk", VERMILION, DASHED), ("value", "predicted", BLUE, ""),
    ):  # fmt: skip
        kept = [(a, p[key]) for a, p in zip(x, found, strict=True) if p[key] > 0]
        at, values = [a for a, _ in kept], [b for _, b in kept]
        chart.add(
            Series(
                name, at, values, "line" if dash or color == SKY else "both", color, dash, size=3
            )
        )
    zero = sum(p["value"] <= 0 for p in found)
    if zero:
        chart.note = f"λ_min = 0 at {zero} of {len(x)} points, not shown"
    rows = [
        (f"{a:,}", number(p["value"], 5), span(p["lower"], p["upper"]), number(p["edge"], 5), p["regime"])
        for a, p in zip(x, found, strict=True)
    ]  # fmt: skip
    header = (over, "λ_min", "nine samples of ten", "edge of the bulk", "regime")
    figure = draw(chart, f"predicted λ_min over {curve['over']}")
    return Section(f"λ_min over {over}", (), figure, header, rows)


def _degrees(degrees: list[Record]) -> Section:
    rows = [(str(d["degree"]), number(d["coefficient"]), share(d["share"], 0.0)) for d in degrees]
    text = "K̄ is a sum over the degrees of harmonic polynomials on the sphere; the shares add up to λ_min."
    return Section(
        "Which degrees make λ_min", (text,), "", ("degree", "coefficient", "share of λ_min"), rows
    )
