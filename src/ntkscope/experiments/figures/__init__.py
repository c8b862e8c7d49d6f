"""The papers' figures, one file a figure, and those that go beyond them."""

from __future__ import annotations

import importlib
from functools import cache

from ntkscope._base.specs import unknown
from ntkscope.experiments.figures.figure import Figure
from ntkscope.statements.statement import papers


@cache
def _by_id() -> dict[str, Figure]:
    found = [
        importlib.import_module(f"ntkscope.papers.{paper.key}.{part}").FIGURE
        for paper in papers()
        for part in paper.figures
    ]
    return {figure.id: figure for figure in found}


def figure(id: str) -> Figure:
    """The figure of an id. Raises ValueError for an unknown one, suggesting the nearest."""
    if id not in _by_id():
        raise ValueError(unknown("figure", id, tuple(_by_id())))
    return _by_id()[id]


def figures() -> list[Figure]:
    """All of them, in the gallery's order."""
    return list(_by_id().values())
