"""The page of ``ntkscope reproduce``. Draws the record it is given."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ntkscope.report import answers
from ntkscope.report.html import render_page


def page(record: Mapping[str, Any], png: bytes) -> str:
    """The picture, the claim beside what was measured, and what differs from the paper.

    The heading names the figure and not the claim, which the measurement may contradict.
    """
    lines = any("straight line" in what for what, _ in record["analysis"]["facts"])
    return render_page(
        "figure.html", record["source"], answers.reproduction(record["analysis"]),
        f"The claim: {record['claim']} ({record['scale']} size)", command=record["command"],
        r=record, image=base64.b64encode(png).decode(), lines=lines,
    )  # fmt: skip
