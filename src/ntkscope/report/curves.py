"""One predicted curve over N or d. Draws what it is given; knows no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope._base.files import figure_bytes
from ntkscope.report.canvas import make_axes
from ntkscope.report.palette import BLUE, VERMILION
from ntkscope.report.style import Style


def prediction_pictures(
    x: Sequence[int | float],
    records: Sequence[Mapping[str, Any]],
    label: str,
    title: str,
    style: Style | None = None,
) -> dict[str, bytes]:
    """Predicted λ_min with its interval and the bulk's edge over ``x``, both axes logarithmic.

    ``records`` are predictions as plain values; a λ_min of 0 has no place on the axis and is left
    out, which the title says. The files are named by their endings: "png", and "pdf" for a paper.
    """
    style = style or Style()
    with style.drawing():
        figure = _drawn(x, records, label, title, style)
        style.typeset(figure)
        return {kind: figure_bytes(figure, kind) for kind in ("png", "pdf")[: 1 + style.paper]}


def _drawn(
    x: Sequence[int | float],
    records: Sequence[Mapping[str, Any]],
    label: str,
    title: str,
    style: Style,
) -> Any:
    shown = [(a, r) for a, r in zip(x, records, strict=True) if r["value"] > 0]
    figure, (axes,) = make_axes(width=7.0, height=4.4, style=style)
    if shown:
        at = [a for a, _ in shown]
        value = [r["value"] for _, r in shown]
        floor = 1e-3 * min(value)
        axes.fill_between(
            at, [max(r["lower"], floor) for _, r in shown], [r["upper"] for _, r in shown],
            color=BLUE, alpha=0.2, label="nine instances of ten",
        )  # fmt: skip
        axes.plot(at, value, color=BLUE, marker="o", markersize=3, label="predicted λ_min")
        axes.plot(
            at, [r["edge"] for _, r in shown], color=VERMILION, linestyle="--",
            label="edge of the bulk",
        )  # fmt: skip
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False)
    hidden = len(records) - len(shown)
    note = f"{hidden} points with λ_min = 0 left out" if hidden else ""
    if style.paper:  # a caption says the rest
        axes.set_title(note)
    else:
        axes.set_title(title + (f" ({note})" if note else ""), fontsize=10)
    axes.set(xlabel=label, ylabel="λ_min, in the units of the kernel")
    return figure
