"""The papers' figures, one file a figure, and those that go beyond them."""

from __future__ import annotations

import importlib

from ntkscope._specs import unknown
from ntkscope.experiments.figures.figure import Figure

# id → module; the order is the gallery's
_MODULES = {
    "nguyen2021-figure-2-left": "nguyen2021_left",
    "nguyen2021-figure-2-right": "nguyen2021_right",
    "bombari2022-figure-1": "bombari2022_one",
    "bombari2022-figure-2": "bombari2022_two",
    "banerjee2023-figure-1": "banerjee2023",
    "banerjee2023-tradeoff": "banerjee2023_tradeoff",
    "depth": "depth",
    "width": "width",
    "bottleneck": "bottleneck",
    "bombari2022-gap": "gap",
}
IDS = tuple(_MODULES)


def figure(id: str) -> Figure:
    """The figure of an id. Raises ValueError for an unknown one, suggesting the nearest."""
    if id not in _MODULES:
        raise ValueError(unknown("figure", id, IDS))
    module = importlib.import_module(f"ntkscope.experiments.figures.{_MODULES[id]}")
    found = module.FIGURE
    assert isinstance(found, Figure)
    return found


def figures() -> list[Figure]:
    """All of them, in the gallery's order."""
    return [figure(id) for id in IDS]
