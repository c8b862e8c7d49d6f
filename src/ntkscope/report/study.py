"""A page of sections: the one design of every command without a page of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ntkscope.report.html import Tile, render_page


@dataclass(frozen=True)
class Section:
    """A card of a page: text, a plot, a table; whatever is empty is left out."""

    heading: str
    text: Sequence[str] = ()
    figure: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def study(
    title: str,
    answer: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    about: str = "",
    tiles: Sequence[Tile] = (),
    warnings: Iterable[str] = (),
) -> str:
    """The page: what was done, the sentence that answers, its numbers, then the sections.

    about: the symbols that the head of the page uses.
    """
    return render_page(
        "study.html", title, answer, subtitle, about=about, tiles=tiles,
        warnings=list(warnings), sections=sections,
    )  # fmt: skip
