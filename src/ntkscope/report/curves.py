"""One predicted curve over N or d, as a PNG. Draws what it is given; knows no kernel."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.report.canvas import make_axes
from ntkscope.report.palette import BLUE, VERMILION


def prediction_png(
    x: Sequence[int | float], records: Sequence[Mapping[str, Any]], label: str, title: str
) -> bytes:
    """Predicted λ_min with its interval and the bulk's edge over ``x``, both axes logarithmic.

    ``records`` are predictions as plain values; a λ_min of 0 has no place on the axis and is left
    out, which the title says.
    """
    shown = [(a, r) for a, r in zip(x, records, strict=True) if r["value"] > 0]
    figure, (axes,) = make_axes(width=7.0, height=4.4)
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
            at,
            [r["edge"] for _, r in shown],
            color=VERMILION,
            linestyle="--",
            label="edge of the bulk",
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(frameon=False)
    hidden = len(records) - len(shown)
    axes.set_title(
        title + (f" ({hidden} points with λ_min = 0 left out)" if hidden else ""), fontsize=10
    )
    axes.set_xlabel(label)
    axes.set_ylabel("λ_min, in the units of the kernel")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()
