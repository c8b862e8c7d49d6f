"""The figures there are: each a paper's ``FIGURE``, in the papers' order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from ntkscope._base.specs import unknown
from ntkscope.experiments.figures.figure import Figure
from ntkscope.statements.plugins import PluginWarning
from ntkscope.statements.registry import Home, homes


def figure(id: str) -> Figure:
    """The figure of an id. Raises ValueError for an unknown one, suggesting the nearest."""
    found = {f.id: f for f in figures()}
    if id not in found:
        raise ValueError(unknown("figure", id, tuple(found)))
    return found[id]


def figures() -> list[Figure]:
    """All of them, in the gallery's order.

    Where a plugin's figures cannot be had, a warning names it and the others are there.
    """
    found: dict[str, Figure] = {}
    for home in homes():
        try:
            new = {f.id: f for f in _of(home)}
            taken = sorted(new.keys() & found.keys())
            if taken:
                raise ValueError(f"the figure {taken[0]!r} is there already")
        except Exception as error:
            if home.own:
                raise
            reason = " ".join(str(error).split())
            warnings.warn(
                f"the figures of the plugin {home.paper.key} are left out: "
                f"{type(error).__name__}: {reason}",
                PluginWarning,
                stacklevel=2,
            )
            continue
        found |= new
    return list(found.values())


def _of(home: Home) -> Iterator[Figure]:
    for module in home.with_figures():
        made = getattr(module, "FIGURE", None)
        if isinstance(made, Figure):
            yield made
        elif made is not None:
            raise TypeError(f"FIGURE must be a Figure, got {type(made).__name__}")
