"""The charts that many results share: curves over a number, bars beside names, bounds on one axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ntkscope.report.chart import Axis, Chart, Coordinate, Series
from ntkscope.report.palette import BLACK, BLUE, ORANGE, PALETTE

_STANDING = 6  # names that fit beside one another


def floats(values: Iterable[float]) -> list[Coordinate]:
    """Numbers of any kind, tensors and arrays included, as a chart holds them."""
    return [float(v) for v in values]


def curves(
    x: str,
    y: str,
    at: Iterable[float],
    found: Mapping[str, Iterable[float]],
    *,
    log: tuple[bool, bool] = (True, True),
    errors: Mapping[str, Sequence[float]] | None = None,
    points: bool = True,
) -> Chart:
    """One curve for each name over the same places; ``errors`` are half the length of bars."""
    places = floats(at)
    chart = Chart(Axis(x, log=log[0]), Axis(y, log=log[1]))
    for color, (name, values) in zip(PALETTE, found.items(), strict=False):
        series = Series(name, places, floats(values), "both" if points else "line", color, size=3.5)
        series.errors = (errors or {}).get(name, ())
        chart.add(series)
    return chart


def bars(
    value: str, names: Sequence[str], found: Mapping[str, Iterable[float]], title: str = ""
) -> Chart:
    """Bars beside names: standing where these are few and short, else a line each."""
    names = unique(names)
    if len(names) <= _STANDING and max(map(len, names), default=0) < 14:
        chart = Chart(Axis(title, categories=names), Axis(value), height=300)
        for color, (name, values) in zip(PALETTE, found.items(), strict=False):
            chart.add(Series(name, names, floats(values), "bars", color))
        return chart
    chart = Chart(Axis(value), Axis(title, categories=names[::-1]), height=110 + 26 * len(names))
    for color, (name, values) in zip(PALETTE, found.items(), strict=False):
        chart.add(Series(name, floats(values), names, "bars", color))
    return chart


def unique(names: Sequence[str]) -> list[str]:
    """Names of which an axis can hold each: what stands twice is numbered."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made


_SIDES = {"lower": (BLUE, "right"), "value": (BLACK, "diamond"), "upper": (ORANGE, "left")}


def bounds(title: str, found: Sequence[tuple[str, float, str]], log: bool) -> Chart:
    """(name, number, side) each on a line of one axis; side is "lower", "value" or "upper".

    ``log`` asks for a logarithmic axis where the numbers span a decade; what is not above 0 is then
    left out, and counted.
    """
    above = [v for _, v, _ in found if 0 < v < float("inf")]
    log = log and bool(above) and max(above) > 10 * min(above)
    shown = [(n, v, s) for n, v, s in found if abs(v) != float("inf") and (v > 0 or not log)]
    names = [name for name, _, _ in shown]
    chart = Chart(
        Axis(title, log=log), Axis(categories=names[::-1]), height=110 + 34 * len(names)
    )  # fmt: skip
    for name, value, side in shown:
        color, marker = _SIDES[side]
        chart.add(
            Series(
                name, [value], [name], "marks", color, size=5, marker=marker, legend=False,
                written=[f"{value:.6g}"], places=["above"],
            )
        )  # fmt: skip
    hidden = len(found) - len(shown)
    chart.note = f"{hidden} at 0, below it or infinite not shown" if hidden else ""
    return chart
