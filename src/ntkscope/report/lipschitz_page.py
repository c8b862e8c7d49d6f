"""The page of ``ntkscope lipschitz``. Draws the record it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.report import answers
from ntkscope.report.chart import Axis, Chart, Series
from ntkscope.report.numbers import counted, number
from ntkscope.report.palette import BLUE, ORANGE
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

Record = Mapping[str, Any]
_ABOUT = (
    "g_k is the vector of pre-activations of layer k, g_L the output. The Lipschitz constant of a map is the "
    "largest ‖g(x) − g(y)‖/‖x − y‖ over all x ≠ y, in Euclidean norms."
)


def intervals(found: list[Record]) -> Chart:
    """Both ends for every layer, joined."""
    chart = Chart(Axis("Lipschitz constant", log=True), Axis(), height=110 + 30 * len(found))
    names = []
    for one in found:
        name = answers.last_map(one)
        names.append(name)
        chart.add(
            Series("", [one["lower"], one["upper"]], [name] * 2, "both", BLUE, size=4,
                   marker=["right", "left"], hover=[f"at least {number(one['lower'], 6)}",
                                                    f"at most {number(one['upper'], 6)}"])
        )  # fmt: skip
    scaled = [
        (one["scaling"], name) for one, name in zip(found, names, strict=True) if one["scaling"]
    ]
    if scaled:
        x, y = [value for value, _ in scaled], [name for _, name in scaled]
        chart.add(Series("Theorem 6.2, constant 1", x, y, "marks", ORANGE, marker="diamond"))
    chart.y = Axis(categories=names[::-1])
    return chart


def page(record: Record, network: str) -> str:
    """The intervals, what they come from, and the theorem's scaling beside them."""
    found = record["intervals"]
    names = sorted({name for one in found for name in one["uppers"]})
    rows = [
        [
            answers.last_map(one).replace(" ", "\N{NO-BREAK SPACE}"), number(one["lower"], 6), number(one["upper"], 6),
            f"{counted(one['pieces'], 'linear piece')} visited" if one["exact"] else "no",
            *(number(one["uppers"].get(name), 6) for name in names), number(one["scaling"]),
        ]
        for one in found
    ]  # fmt: skip
    header = ("map", "at least", "at most", "exact", *names, "Theorem 6.2, constant 1")
    sections = [
        Section(
            "The intervals",
            (
                "The left end is the largest Jacobian met in a search, the right end the least of the upper "
                "bounds below. The diamond is the right side of Nguyen et al. 2021, Theorem 6.2, with its "
                "hidden constant set to 1: no bound, a scale.",
            ),
            draw(intervals(found), "interval of the Lipschitz constant of every layer"),
        ),
        Section("In numbers", (), "", header, rows),
    ]
    title = f"Lipschitz constants of {network}"
    return study(title, answers.lipschitz(found), f"seed {record['seed']}", sections, about=_ABOUT)
