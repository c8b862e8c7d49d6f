"""From data to places on the page: scales, and ticks that people would choose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ntkscope.report.chart import Axis, Coordinate

_MOST = 7  # ticks of an axis


@dataclass(frozen=True)
class Scale:
    """An axis along ``start`` … ``stop`` in the units of the page. low, high: of the logarithm, if any."""

    axis: Axis
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: Coordinate) -> float:
        """The place of a value; a category's is its middle."""
        if isinstance(value, str):
            return self._along(self.axis.categories.index(value))
        return self._along(math.log10(value) if self.axis.log else value)

    def _along(self, t: float) -> float:
        return self.start + (self.stop - self.start) * (t - self.low) / (self.high - self.low)

    def shows(self, value: Coordinate) -> bool:
        """Whether a value has a place on the axis and within its ends."""
        if isinstance(value, str):
            return value in self.axis.categories
        if not math.isfinite(value) or (self.axis.log and value <= 0):
            return False
        t = math.log10(value) if self.axis.log else value
        slack = 1e-9 * (self.high - self.low)
        return self.low - slack <= t <= self.high + slack

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels, ``10^k`` for powers of ten."""
        if self.axis.categories:
            return [(self._along(i), name) for i, name in enumerate(self.axis.categories)]
        if not self.axis.log:
            step = _step((self.high - self.low) / (_MOST - 1))
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [(self._along(k * step), f"{k * step:.6g}") for k in range(first, last + 1)]
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        if last - first >= 2:
            step = math.ceil((last - first + 1) / _MOST)
            return [(self._along(k), f"10^{{{k}}}") for k in range(first, last + 1, step)]
        for digits in ((1, 2, 5), range(1, 10)):
            found = [
                (self._along(t), f"{digit * 10.0**decade:.4g}")
                for decade in range(math.floor(self.low), math.ceil(self.high) + 1)
                for digit in digits
                if self.low - 1e-9 <= (t := decade + math.log10(digit)) <= self.high + 1e-9
            ]
            if len(found) >= 3:
                return found
        return self._even()

    def _even(self) -> list[tuple[float, str]]:
        """Ticks at even steps of the value, on a logarithmic axis that spans little."""
        low, high = 10.0**self.low, 10.0**self.high
        step = _step((high - low) / (_MOST - 1))
        places = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        return [(self._along(math.log10(v)), f"{v:.6g}") for v in places if v > 0]


def scale(axis: Axis, values: Iterable[Coordinate], start: float, stop: float) -> Scale:
    """The scale that shows all of ``values`` that can be shown."""
    if axis.categories:
        return Scale(axis, -0.5, len(axis.categories) - 0.5, start, stop)
    if axis.ends is not None:
        low, high = (math.log10(e) if axis.log else e for e in axis.ends)
        return Scale(axis, low, high, start, stop)
    shown = [v for v in values if not isinstance(v, str) and math.isfinite(v)]
    if axis.log:
        shown = [math.log10(v) for v in shown if v > 0]
    low, high = (min(shown), max(shown)) if shown else (0.0, 1.0)
    if high - low < 1e-6 * max(1.0, abs(high)):
        low, high = (
            (low - 0.5, high + 0.5) if axis.log else (low - _around(low), high + _around(low))
        )
    margin = 0.04 * (high - low)
    zero = not axis.log and low == 0
    return Scale(axis, low if zero else low - margin, high + margin, start, stop)


def _around(value: float) -> float:
    return abs(value) / 2 or 1.0


def _step(least: float) -> float:
    """The smallest of 1, 2, 5, times a power of ten, that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= least * (1 - 1e-9))


def thin(places: Sequence[tuple[float, float]], apart: float) -> list[int]:
    """Which of the points to draw, so that neighbours are at least ``apart`` units of the page away."""
    kept: list[int] = []
    for i, (x, y) in enumerate(places):
        if not kept or i == len(places) - 1 or math.dist((x, y), places[kept[-1]]) >= apart:
            kept.append(i)
    return kept
