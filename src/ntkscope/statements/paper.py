"""What a paper is: a folder that registers statements, confirmers and figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A folder of statements and figures.

    Attributes
    ----------
    key: the folder's name, which ids begin with.
    title, citation: for lists and pages.
    order: where it stands in lists, smallest first.
    parts: the modules with its statements, in the order in which they are listed.
    figures: the modules with its figures, in the gallery's order.
    """

    key: str
    title: str
    citation: str
    order: int
    parts: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
