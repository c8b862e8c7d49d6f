"""What a chart shows, as plain data; :mod:`ntkscope.report.svg` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ntkscope.report.palette import BLUE

Coordinate = float | str  # a name on an axis of categories


@dataclass
class Axis:
    """title; logarithmic or not; its ends in data units, or its categories from low to high."""

    title: str = ""
    log: bool = False
    ends: tuple[float, float] | None = None
    categories: Sequence[str] = ()
    grid: bool = True


@dataclass
class Series:
    """Points with how they are shown.

    kind: "line", "marks", "both" or "bars". errors: half the length of a bar through each point.
    hover: said of each point; written: stands beside each point, where ``places`` says
    ("right", "above" or "left"). widths: of bars, in data units; without them bars stand in categories.
    marker: "dot", "right", "left", "diamond", or "bar".
    """

    name: str
    x: Sequence[Coordinate]
    y: Sequence[Coordinate]
    kind: Literal["line", "marks", "both", "bars"] = "line"
    color: str = BLUE
    dash: str = ""
    width: float = 2.0
    size: float = 4.0
    marker: str | Sequence[str] = "dot"
    opacity: float = 1.0
    errors: Sequence[float] = ()
    hover: Sequence[str] = ()
    written: Sequence[str] = ()
    places: Sequence[str] = ()
    widths: Sequence[float] = ()
    legend: bool = True


@dataclass
class Chart:
    """bands: intervals of x; rules: values of x with their names; note: a sentence in the lower left corner."""

    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    series: list[Series] = field(default_factory=list)
    bands: list[tuple[float, float]] = field(default_factory=list)
    rules: list[tuple[float, str]] = field(default_factory=list)
    note: str = ""
    height: int = 340

    def add(self, series: Series) -> None:
        """Draw it above what is there."""
        self.series.append(series)


DASHED, DOTTED = "7 5", "2 4"
