"""Fitted laws as rows of a table. Draws plain records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.report.numbers import number

Record = Mapping[str, Any]

LAW = (
    "curve",
    "law",
    "c",
    "residual",
    "c, larger half",
    "trend of c",
    "free exponent",
    "a",
    "b",
    "R²",
)


def estimate(found: Record) -> str:
    """``1.122 [1.07, 1.173]``: a number and its 95% interval."""
    return f"{number(found['value'])} [{number(found['low'])}, {number(found['high'])}]"


def law(found: Record) -> tuple[str, ...]:
    """A row under :data:`LAW`: the constant at a fixed exponent beside the free exponent and a line a + b·x."""
    held, late, free, line = (found[key] for key in ("constant", "late", "free", "line"))
    power = "" if held["exponent"] == 1 else f"^{{{held['exponent']:g}}}"
    x = f"({found['x']})" if any(c in found["x"] for c in "+-*/ ") else found["x"]
    return (
        found["curve"],
        f"{symbol(found['y'])} = c · {symbol(x)}{power}".replace(" ", "\N{NO-BREAK SPACE}"),
        estimate(held["constant"]),
        f"{number(float(format(100 * held['scatter'], '.2g')))}%",
        "—" if late is None else estimate(late["constant"]),
        found["trend"],
        "—" if free is None else estimate(free["exponent"]),
        *(("—",) * 3 if line is None else
          (estimate(line["intercept"]), estimate(line["slope"]), f"{line['explained']:.4f}")),
    )  # fmt: skip


def symbol(column: str) -> str:
    """A table's column as people write it: ``lambda_min`` as λ_min."""
    return column.replace("lambda_", "λ_")
