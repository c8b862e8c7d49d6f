"""Matplotlib figures without a display, in the one look of every picture here."""

from __future__ import annotations

from typing import Any

from ntkscope._base.extras import needs


def make_axes(panels: int = 1, width: float = 5.2, height: float = 3.9) -> tuple[Any, list[Any]]:
    """A figure and its panels side by side, each of ``width`` by ``height`` inches."""
    with needs("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes
