"""Hermite coefficients as a table and a figure. Draws the record it is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.files import save_figure
from ntkscope.report.canvas import make_axes
from ntkscope.report.numbers import number
from ntkscope.report.palette import BLUE, PALETTE
from ntkscope.report.style import Style

with needs("report"):
    from rich import box
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text


def table(record: Mapping[str, Any]) -> RenderableType:
    """The coefficients, the generalised ones and the tails of ``hermite.summary``."""
    title = f"{record['activation']}, z ~ N(0, a), a = {number(record['variance'], 6)}"
    rows = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    same = record["generalised"] == record["coefficients"]
    for name in ("r", "E[φ(√a z) h_r(z)]", *["μ_r^[a]"] * (not same), "tail / E φ²"):
        rows.add_column(Text(name), justify="right")  # [a] is no markup here
    generalised = record["generalised"] or [None] * len(record["coefficients"])
    moment, error = record["second_moment"], record["error"]
    for r, (c, g) in enumerate(zip(record["coefficients"], generalised, strict=True)):
        left = record["tails"][r] / moment if moment else None
        other = [] if same else [_entry(g, error * abs(g / c) if g and c else 0.0)]
        rows.add_row(str(r), _entry(c, error), *other, number(left))
    lines = [
        f"E φ² = c = {moment:.15g}",
        f"ν₀² = σ₀²/c = {number(record['nu0_sq'], 15)} (σ₀² = a)",
        f"each coefficient ± {number(error, 2)}; tail: Σ_{{s>r}} of squares",
        *["μ_r^[a]: the same numbers"] * same,
    ]
    return Group(rows, *lines)


def _entry(value: float | None, error: float) -> str:
    """A coefficient; one that is 0 within its error is said to be that."""
    if value is None:
        return "—"
    return f"0 ± {number(error, 2)}" if 0 < abs(value) <= error else f"{value:.15g}"


def figure(record: Mapping[str, Any], path: str | Path, style: Style | None = None) -> Path:
    """|coefficients| beside φ and its partial sums, as PNG, PDF or SVG by the path's suffix.

    Raises ValueError for a suffix that matplotlib cannot write, OSError for a path it cannot.
    """
    style = style or Style()
    with style.drawing():
        drawing = _drawing(record, style)
        style.typeset(drawing)
        save_figure(drawing, path)
    return Path(path)


def _drawing(record: Mapping[str, Any], style: Style) -> Any:
    drawing, (left, right) = make_axes(2, 4.8, 3.8, style)
    sizes = [abs(c) for c in record["coefficients"]]
    shown = [(r, c) for r, c in enumerate(sizes) if c > record["error"]]
    left.semilogy([r for r, _ in shown], [c for _, c in shown], "o", color=BLUE, ms=5)
    left.axhline(record["error"], color="0.6", lw=1, ls="--")
    left.annotate("error", (0.99, record["error"]), xycoords=("axes fraction", "data"),
                  ha="right", va="bottom", color="0.4", fontsize="small")  # fmt: skip
    left.set(xlabel="order r", ylabel="|E[φ(√a z) h_r(z)]|", title="coefficients")
    sums = record["partial_sums"]
    for (order, values), hue in zip(sums["orders"].items(), PALETTE, strict=False):
        right.plot(sums["x"], values, color=hue, lw=1.4, label=f"order {order}")
    right.plot(sums["x"], sums["phi"], color="black", lw=1.6, ls=":", label="φ")
    low, high = min(sums["phi"]), max(sums["phi"])
    margin = 0.35 * (high - low or 1.0)
    right.set(xlabel="x", ylim=(low - margin, high + margin), title="partial sums")
    right.axvspan(-sums["spread"], sums["spread"], color="0.93", zorder=0)
    right.annotate("two standard deviations", (0.5, 0.02), xycoords="axes fraction",
                   ha="center", color="0.4", fontsize="small")  # fmt: skip
    right.legend(fontsize="small", frameon=False)
    title = f"{record['activation']}, variance {number(record['variance'])}"
    drawing.suptitle(title, fontsize="medium" if style.paper else 11)
    return drawing
