"""A chart as an inline SVG: it scales with its box, prints, speaks to readers, needs no script.

Each point says its numbers when it is pointed at. Texts take the page's colours, so that a chart is
as dark as its page.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from html import escape

from ntkscope.report.axes import Scale, scale, thin
from ntkscope.report.chart import Chart, Coordinate, Series
from ntkscope.report.palette import BLACK
from ntkscope.report.text import minus, powers, typeset

STYLE = """\
svg.chart { width: 100%; height: auto; display: block; overflow: visible; color: var(--ink, #1b1f24); }
.chart text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: currentColor; }
.chart .i { font-size: 10px; }
.chart .grid, .chart .axis, .chart .line, .chart .rule { fill: none; }
.two .chart text { font-size: 17px; } .two .chart .i { font-size: 13px; }
@media (max-width: 520px) { .chart text { font-size: 17px; } .chart .i { font-size: 13px; } }
.chart text.long { font-size: 13px; }
.chart .grid { stroke: currentColor; stroke-opacity: .12; }
.chart .axis { stroke: currentColor; stroke-opacity: .5; }
.chart .line { stroke-linejoin: round; stroke-width: 2; }
.chart .rule { stroke: currentColor; stroke-width: 1; stroke-dasharray: 2 4; }
.chart .band { fill: #8a8f98; fill-opacity: .35; }
"""
_WIDTH = 640
_LETTER = 9.6  # the mean width of a letter of 17px
_ROOM = 236.0  # for the names of an axis of categories
_ABOVE = 16  # the plot, for the names of its rules
_LINE = 19  # of the legend
_APART = 3.0
_TAGS = re.compile(r"<(sub|sup)>(.*?)</\1>")
_BESIDE = {"above": (0, -12, "middle"), "right": (11, 4.5, "start"), "left": (-10, 4.5, "end")}
_MARKERS = {
    "dot": "",
    "diamond": "M0 -{s}L{s} 0L0 {s}L-{s} 0Z",
    "right": "M-{s} -{s}L{s} 0L-{s} {s}Z",
    "left": "M{s} -{s}L-{s} 0L{s} {s}Z",
    "bar": "M-1.2 -{s}H1.2V{s}H-1.2Z",
}


def draw(chart: Chart, label: str) -> str:
    """The figure as a fragment of a page, with its numbers beside it for who wants them."""
    legend = _legend(chart)
    top = (
        (14 if legend else 8)
        + _LINE * len(legend)
        + (_ABOVE if any(name for _, name in chart.rules) else 0)
    )
    labels = _names(chart.y.categories) or ["10⁻¹⁰⁰"]
    left = 26 + min(_ROOM, _LETTER * max(map(len, labels))) + (18 if chart.y.title else 0)
    bottom = chart.height - (50 if chart.x.title else 28)
    x = scale(chart.x, _values(chart, "x"), left, _WIDTH - 14)
    y = scale(chart.y, _values(chart, "y"), bottom, top + 4)
    parts = [*_grid(chart, x, y), *legend]
    for low, high in chart.bands:
        if chart.x.log and low <= 0:
            continue
        a, b = x(low), x(high)
        parts.append(
            f'<rect class="band" x="{a:.1f}" y="{top}" width="{b - a:.1f}" height="{bottom - top}"/>'
        )
    for value, name in chart.rules:
        if x.shows(value):
            parts += _rule(x(value), name, top, bottom, (left + _WIDTH) / 2)
    bars = [s for s in chart.series if s.kind == "bars"]
    for series in chart.series:
        parts += _bars(series, bars, x, y) if series.kind == "bars" else _points(series, x, y)
    note = chart.note or _left_out(chart)
    if note:
        parts.append(f'<text x="{left + 6:.1f}" y="{bottom - 8}">{_text(note)}</text>')
    inside = "".join(parts)
    data = json.dumps(_data(chart), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<figure class="plot"><svg class="chart" viewBox="0 0 {_WIDTH} {chart.height}" '
        f'role="img" aria-label="{escape(label)}">{inside}</svg>'
        f'<script type="application/json" class="numbers">{data}</script></figure>'
    )


def _values(chart: Chart, which: str) -> Iterator[Coordinate]:
    for series in chart.series:
        values: Sequence[Coordinate] = getattr(series, which)
        yield from values
        if which == "y" and series.errors:
            for v, e in zip(values, series.errors, strict=True):
                if not isinstance(v, str):
                    yield v + e
                    yield v - e
        if series.kind == "bars" and not any(isinstance(v, str) for v in values):
            if series.widths and which == "x":
                for v, w in zip(values, series.widths, strict=True):
                    if not isinstance(v, str):
                        yield v - w / 2
                        yield v + w / 2
            elif which == ("y" if series.widths or isinstance(series.x[0], str) else "x"):
                yield 0.0


def _left_out(chart: Chart) -> str:
    """What has no place on the axes, in words."""
    numbers = [
        (v, axis.log)
        for series in chart.series
        for axis, values in ((chart.x, series.x), (chart.y, series.y))
        for v in values
        if not isinstance(v, str)
    ]
    none = sum(not math.isfinite(v) for v, _ in numbers)
    low = sum(log and v <= 0 for v, log in numbers)
    said = [f"{low} {'value' if low == 1 else 'values'} ≤ 0"] if low else []
    if none:
        said.append(f"{none} not finite")
    return f"not shown: {', '.join(said)}" if said else ""


def _text(text: str) -> str:
    """Escaped, with real indices."""
    shifts = {"sub": 4, "sup": -5}
    plain = typeset(escape(text, quote=False))

    def shifted(found: re.Match[str]) -> str:
        d = shifts[found[1]]
        return f'<tspan dy="{d}" class="i">{found[2]}</tspan><tspan dy="{-d}">\u200b</tspan>'

    return _TAGS.sub(shifted, plain)


def _names(categories: Sequence[str]) -> list[str]:
    return [re.sub(r"[_^{}()]", "", name) for name in categories]


def _grid(chart: Chart, x: Scale, y: Scale) -> Iterator[str]:
    left, right, top, bottom = x.start, x.stop, y.stop, y.start
    for place, name in x.ticks:
        if chart.x.grid and not chart.x.categories:
            yield f'<path class="grid" d="M{place:.1f} {top:.1f}V{bottom}"/>'
        yield f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{_text(name)}</text>'
    for place, name in y.ticks:
        if chart.y.grid:
            yield f'<path class="grid" d="M{left:.1f} {place:.1f}H{right}"/>'
        shown = _short(name)
        size = ' class="long"' if _LETTER * len(_names([shown])[0]) > _ROOM else ""
        yield (
            f'<text{size} x="{left - 7:.1f}" y="{place + 4.5:.1f}" text-anchor="end">'
            f"{_text(shown)}</text>"
        )
    yield f'<path class="axis" d="M{left:.1f} {top:.1f}V{bottom}H{right}"/>'
    if chart.x.title:
        middle = (left + right) / 2
        yield (
            f'<text x="{middle:.1f}" y="{bottom + 41}" text-anchor="middle">{_text(chart.x.title)}'
            "</text>"
        )
    if chart.y.title:
        middle = (top + bottom) / 2
        yield (
            f'<text transform="translate(15 {middle:.1f}) rotate(-90)" text-anchor="middle">'
            f"{_text(chart.y.title)}</text>"
        )


def _rule(at: float, name: str, top: float, bottom: float, middle: float) -> Iterator[str]:
    """A line from top to bottom; its name stands above, on the side that has more room."""
    yield f'<path class="rule" d="M{at:.1f} {top - _ABOVE}V{bottom}"/>'
    place, anchor = (at + 5, "start") if at < middle else (at - 5, "end")
    if name:
        yield f'<text x="{place:.1f}" y="{top - 4}" text-anchor="{anchor}">{_text(name)}</text>'


def _short(name: str, most: int = 32) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 + 1 :]}"


def _legend(chart: Chart) -> list[str]:
    """Names with their mark, in lines that fit."""
    at, line = 12.0, 0
    shown = [s for s in chart.series if s.legend and s.name]
    if len(shown) < 2 and not any(s.dash for s in shown):
        return []
    rows: list[list[str]] = [[]]
    for series in shown:
        size = 46 + _LETTER * len(_names([series.name])[0])
        if at + size > _WIDTH and rows[line]:
            rows.append([])
            line, at = line + 1, 12.0
        y = 15 + _LINE * line
        mark = (
            f'<path d="M{at:.0f} {y - 4}h20" {_stroke(series)}/>'
            if series.kind in ("line", "both")
            else f'<g transform="translate({at + 10:.0f} {y - 4})">{_mark(series, 0)}</g>'
        )
        rows[line].append(f'{mark}<text x="{at + 26:.0f}" y="{y}">{_text(series.name)}</text>')
        at += size
    return ["".join(row) for row in rows]


def _color(color: str) -> str:
    return "currentColor" if color == BLACK else color


def _stroke(series: Series) -> str:
    dash = f' stroke-dasharray="{series.dash}"' if series.dash else ""
    return f'class="line" stroke="{_color(series.color)}" stroke-width="{series.width:g}"{dash}'


def _mark(series: Series, index: int) -> str:
    kind = series.marker if isinstance(series.marker, str) else series.marker[index]
    color = f'fill="{_color(series.color)}"'
    if series.opacity < 1:
        color += f' fill-opacity="{series.opacity:g}"'
    if series.kind == "bars":
        return f'<rect x="-6" y="-6" width="12" height="12" {color}/>'
    if kind == "dot":
        return f'<circle r="{series.size:g}" {color}/>'
    return f'<path d="{_MARKERS[kind].format(s=f"{1.3 * series.size:g}")}" {color}/>'


def _hover(series: Series, index: int) -> str:
    if series.hover:
        said = series.hover[index]
    else:
        said = ": ".join(v if isinstance(v, str) else f"{v:.6g}" for v in _at(series, index))
    name = f"{series.name}\n" if series.name else ""
    return f"<title>{escape(minus(powers(name + said)), quote=False)}</title>"


def _at(series: Series, index: int) -> tuple[Coordinate, Coordinate]:
    return series.x[index], series.y[index]


def _points(series: Series, x: Scale, y: Scale) -> Iterator[str]:
    places: list[tuple[float, float]] = []
    where: list[int] = []
    runs: list[list[tuple[float, float]]] = [[]]
    for i in range(len(series.x)):
        a, b = _at(series, i)
        if not (x.shows(a) and y.shows(b)):
            runs.append([])
            continue
        places.append((x(a), y(b)))
        where.append(i)
        runs[-1].append(places[-1])
    if series.kind in ("line", "both"):
        for run in runs:
            if len(run) > 1:
                kept = [run[i] for i in thin(run, 0.7)]
                d = "L".join(f"{a:.1f} {b:.1f}" for a, b in kept)
                title = f"<title>{escape(series.name, quote=False)}</title>"
                yield f'<path d="M{d}" {_stroke(series)}>{title}</path>'
    if series.kind == "line":
        return
    for k in thin(places, _APART) if len(places) > 100 else range(len(places)):
        (a, b), i = places[k], where[k]
        if series.errors:
            yield _error(series, i, a, y)
        yield (
            f'<g transform="translate({a:.1f} {b:.1f})">{_mark(series, i)}{_hover(series, i)}</g>'
        )
        if series.written:
            place = series.places[i] if series.places else "right"
            dx, dy, anchor = _BESIDE[place]
            yield (
                f'<text x="{a + dx:.1f}" y="{b + dy:.1f}" text-anchor="{anchor}">'
                f"{_text(series.written[i])}</text>"
            )


def _error(series: Series, index: int, at: float, y: Scale) -> str:
    value, error = series.y[index], series.errors[index]
    if isinstance(value, str) or not error > 0:
        return ""
    low, high = value - error, value + error
    ends = [y(v) if y.shows(v) else end for v, end in ((low, y.start), (high, y.stop))]
    color = _color(series.color)
    return f'<path class="line" stroke="{color}" d="M{at:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>'


def _bars(series: Series, beside: Sequence[Series], x: Scale, y: Scale) -> Iterator[str]:
    """Bars in data units, or in categories beside those of other series."""
    number, count = [id(s) for s in beside].index(id(series)), len(beside)
    lying = bool(y.axis.categories)
    along, across = (y, x) if lying else (x, y)
    names, sizes = (series.y, series.x) if lying else (series.x, series.y)
    for i, (name, size) in enumerate(zip(names, sizes, strict=True)):
        if isinstance(size, str) or not math.isfinite(size):
            continue
        if series.widths:
            assert not isinstance(name, str)
            a, b = along(name - series.widths[i] / 2), along(name + series.widths[i] / 2)
        else:
            room = abs(along.stop - along.start) / max(1, len(along.axis.categories)) * 0.76
            a = along(name) - room / 2 + room * number / count
            b = a + room / count
        zero, end = across(0.0), across(size)
        low, high = min(zero, end), max(zero, end)
        box = (
            f'x="{low:.1f}" y="{min(a, b):.1f}" width="{high - low:.1f}" height="{abs(b - a):.1f}"'
            if lying
            else f'x="{min(a, b):.1f}" y="{low:.1f}" width="{abs(b - a):.1f}" '
            f'height="{high - low:.1f}"'
        )
        yield f'<rect {box} fill="{_color(series.color)}">{_hover(series, i)}</rect>'


def _data(chart: Chart) -> list[dict[str, object]]:
    def plain(values: Sequence[Coordinate]) -> list[object]:
        return [
            v if isinstance(v, str) else float(f"{v:.8g}") if math.isfinite(v) else None
            for v in values
        ]

    return [{"name": s.name, "x": plain(s.x), "y": plain(s.y)} for s in chart.series]
