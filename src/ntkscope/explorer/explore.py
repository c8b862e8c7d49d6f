"""The page itself: its readable parts, put together with the tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from ntkscope._base.files import whole
from ntkscope.explorer.tables import tables
from ntkscope.report import html, svg

# in this order they make one script
SCRIPTS = (
    "random", "data", "kernel", "eigen", "bounds", "gegenbauer", "prediction", "finite", "numbers",
    "chart", "drawings", "words", "main",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Explorer:
    """An offline page; a notebook shows it.

    Attributes
    ----------
    html: the whole page, which loads nothing from elsewhere.
    """

    html: str

    def save(self, path: str | Path = "explorer.html") -> Path:
        """Write the page, whole or not at all. Raises OSError."""
        with whole(path) as file:
            file.write(self.html.encode())
        return Path(path)

    def __repr__(self) -> str:
        return f"Explorer({len(self.html.encode()) / 1000:.0f} kB; .save(path) writes the page)"

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="ntkscope explorer" srcdoc="{escape(self.html)}" '
            'style="width:100%;height:860px;border:0"></iframe>'
        )


def explore() -> Explorer:
    """A page on which λ_min follows depth, width, N, d, activation, initialization and data.

    The page computes the limiting kernel, its eigenvalues, bounds and predicted density by itself,
    and the empirical kernel of a network that it draws.

    Returns
    -------
    An :class:`Explorer`: shown at the end of a notebook's cell, written by ``.save(path)``.
    """
    data = json.dumps(tables(), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = html.environment().from_string(_read("page.html"))
    page = template.render(
        title="λ_min explorer", charts=False, chart_style=svg.STYLE, style=_read("style.css"),
        answer="", about="", tiles=(), warnings=(), command="", subtitle="The neural tangent kernel of "
        "a fully connected network, its smallest eigenvalue and what decides it.",
        tables=data, script="\n".join(_read(f"{name}.js") for name in SCRIPTS),
    )  # fmt: skip
    return Explorer(page)


def _read(name: str) -> str:
    return (resources.files("ntkscope.explorer") / "page" / name).read_text(encoding="utf-8")
