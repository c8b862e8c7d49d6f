"""Matplotlib figures in the one look of every picture here."""

from __future__ import annotations

import io
import re
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.report.style import Style


def make_axes(
    panels: int = 1, width: float = 5.2, height: float = 3.9, style: Style | None = None
) -> tuple[Any, list[Any]]:
    """A figure without a display, and its panels side by side, each of ``width`` by ``height`` inches.

    A style of a paper sets the size by its columns.
    """
    with needs("report"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    across, wide, high = (style or Style()).size(panels, width, height)
    figure = Figure(figsize=(wide, high), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(panels // across, across, i + 1) for i in range(panels)]
    for ax in axes:
        dress(ax)
    return figure, axes


def new_axes(width: float = 5.2, height: float = 3.9) -> Any:
    """The axes of a new figure of pyplot's, which notebooks and ``plt.show()`` show."""
    return new_row(1, width, height)[0]


def new_row(panels: int, width: float = 5.2, height: float = 3.9) -> list[Any]:
    """The same of several panels side by side."""
    with needs("report"):
        import matplotlib.pyplot as plt

    size = (width * panels, height)
    _, row = plt.subplots(1, panels, figsize=size, layout="constrained", squeeze=False)
    axes = list(row[0])
    for ax in axes:
        dress(ax)
    return axes


def dress(ax: Any) -> None:
    """Two spines, and a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(alpha=0.25, linewidth=0.6)


def shorten_ticks(ax: Any) -> None:
    """On a log axis from 1 to 10⁴: 60, 100, 200, where 6 × 10¹, 10², 2 × 10² run into one another."""
    with needs("report"):
        from matplotlib.ticker import LogFormatter

    low, high = ax.get_xlim()
    if ax.get_xscale() == "log" and ax.xaxis.get_transform().base == 10 and 1 <= low < high <= 1e4:
        ax.xaxis.set_major_formatter(LogFormatter())
        ax.xaxis.set_minor_formatter(LogFormatter())


def inline_svg(figure: Any) -> str:
    """The figure as an element of a page, in the page's colours.

    It has no ground. Black and dark greys are the page's text, white is its card: what is drawn in the one
    upon the other keeps its contrast in the dark.
    """
    with needs("report"):
        import matplotlib as mpl

    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": "ntkscope"}):  # the same figure, the same text
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    whole = file.getvalue()
    inked = re.sub(r"#([0-7])([0-9a-f])(?:\1\2){2}\b", "currentColor", whole[whole.index("<svg") :])
    return inked.replace("#ffffff", "var(--card)")
