"""The page of ``ntkscope reproduce``. Draws the record it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.report import answers
from ntkscope.report.html import render_page
from ntkscope.report.laws import LAW, law


def page(record: Mapping[str, Any], picture: str) -> str:
    """The picture, an SVG, the claim beside what was measured, and what differs from the paper.

    The heading names the figure and not the claim, which the measurement may contradict.
    """
    found = record["analysis"]
    laws = [*(v["constant"] for v in found["verdicts"]), *found["constants"]]
    return render_page(
        "figure.html", record["source"], answers.reproduction(record["analysis"]),
        f"The claim, at {record['scale']} size: {record['claim']}", command=record["command"],
        r=record, image=picture, panels=len(record["plotted"]), laws=list(map(law, laws)),
        law_header=LAW,
    )  # fmt: skip
