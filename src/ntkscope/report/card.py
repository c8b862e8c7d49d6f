"""A result in the small: pairs and tables, as text for a terminal and as a piece of a notebook's page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ntkscope.report.numbers import count, enclosed, number, with_error

MOST_BYTES = 10_000  # of a piece of a page: a notebook of a hundred results stays small
_ROWS, _COLUMNS, _LETTERS = 20, 10, 160
_WIDTH = 100  # of a text
_STYLE = (
    "<style>.ntk th,.ntk td{text-align:left;vertical-align:top}.ntk td.n{text-align:right}"
    ".ntk caption{text-align:left;font-weight:bold}</style>"
)


@dataclass
class Grid:
    """A table of texts. ``labels``: how many of the first columns hold words and not numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1


@dataclass
class Card:
    """What a result shows of itself. ``text``: instead of pairs and tables, lines as they are."""

    title: str
    pairs: list[tuple[str, str]] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    text: str = ""


def text(card: Card) -> str:
    """The card as lines of at most 100 letters, tables apart."""
    if card.text:
        return card.text
    lines = [card.title] if card.title else []
    lines += _paired(card.pairs)
    for grid in card.grids:
        lines += ([grid.title] if grid.title else []) + columns(
            [grid.columns, *grid.rows], grid.labels
        )
    for note in card.notes:
        lines += textwrap.wrap(f"! {note}", _WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def _paired(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(label) for label, _ in pairs), default=0)
    lines = []
    for label, value in pairs:
        told = textwrap.wrap(value, max(20, _WIDTH - width - 4)) or [""]
        lines.append(f"  {label:<{width}}  {told[0]}")
        lines += [f"  {'':<{width}}  {more}" for more in told[1:]]
    return lines


def columns(rows: Sequence[Sequence[str]], labels: int = 1) -> list[str]:
    """Rows as aligned lines, the first ``labels`` columns to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k < labels else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def html(card: Card) -> str:
    """The card as a fragment of at most 10 kB without a script; what does not fit is counted."""
    parts = [f'<div class="ntk">{_STYLE}']
    if card.title:
        parts.append(f"<b>{_cell(card.title)}</b>")
    if card.text:
        parts.append(_preformatted(card.text))
    if card.pairs:
        rows = [f"<th>{_cell(a)}</th><td>{_cell(b)}</td>" for a, b in card.pairs]
        parts.append(_table("", rows, sum(map(_nbytes, parts))))
    for grid in card.grids:
        shown = [_row(row, grid.labels) for row in [grid.columns, *grid.rows]]
        parts.append(_table(grid.title, shown, sum(map(_nbytes, parts))))
    for note in card.notes:
        line = f"<p>⚠ {_cell(note)}</p>"
        if sum(map(_nbytes, parts)) + _nbytes(line) < MOST_BYTES - 50:
            parts.append(line)
    return "".join([*parts, "</div>"])


def _preformatted(lines: str) -> str:
    kept: list[str] = []
    size = 0
    for line in lines.splitlines():
        size += _nbytes(escape(line)) + 1
        if size > 0.9 * MOST_BYTES:
            kept.append("…")
            break
        kept.append(escape(line))
    return f"<pre>{chr(10).join(kept)}</pre>"


def _table(title: str, rows: Sequence[str], taken: int) -> str:
    """The rows that fit, and how many do not."""
    most, kept, size = 0.9 * MOST_BYTES - taken, list[str](), 120 + len(title)
    for row in rows[: _ROWS + 1]:
        size += _nbytes(row) + 9
        if size > most:
            break
        kept.append(f"<tr>{row}</tr>")
    left = len(rows) - len(kept)
    more = f"<tr><td>… {left} more</td></tr>" if left else ""
    caption = f"<caption>{_cell(title)}</caption>" if title else ""
    return f"<table>{caption}{''.join(kept)}{more}</table>"


def _row(row: Sequence[str], labels: int) -> str:
    cells = [
        f"<td>{_cell(c)}</td>" if k < labels else f'<td class="n">{_cell(c)}</td>'
        for k, c in enumerate(row[:_COLUMNS])
    ]
    return "".join(cells)


def _cell(value: str) -> str:
    return escape(_short(value, _LETTERS), quote=False)


def _short(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"


def _nbytes(part: str) -> int:
    return len(part.encode())


def of(record: Mapping[str, Any], title: str) -> Card:
    """The card of plain values: numbers and texts as pairs, lists of records as tables."""
    card = Card(title)
    for key, value in record.items():
        label = words(key)
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            card.grids.append(grid(label, value))
        elif value not in ([], {}, ""):
            card.pairs.append((label, shown(value)))
    return card


def grid(title: str, records: Sequence[Mapping[str, Any]]) -> Grid:
    """Records as a table, a column for each key that holds more than nothing."""
    keys = dict.fromkeys(key for record in records for key in record)
    told = [key for key in keys if any(r.get(key) not in (None, "", [], {}) for r in records)]
    told.sort(
        key=lambda key: not isinstance(records[0].get(key), str)
    )  # names first, in their order
    rows = [[_short(shown(record.get(key)), 40) for key in told] for record in records]
    labels = sum(isinstance(records[0].get(key), str) for key in told)
    return Grid(title, [words(key) for key in told], rows, max(1, labels))


def words(key: str) -> str:
    """``lambda_min_error`` as λ_min error, ``n_samples`` as n samples."""
    if key.startswith("lambda_"):
        first, _, rest = key.removeprefix("lambda_").partition("_")
        return f"λ_{first} {rest.replace('_', ' ')}".strip()
    return key.replace("_", " ")


def shown(value: Any) -> str:
    """A plain value in a few words: an interval as one, a long list as its extent."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        return _listed(value)
    return str(value)


def _mapping(value: Mapping[str, Any]) -> str:
    keys = value.keys()
    if {"value", "lower", "upper"} <= keys:
        status = f" ({value['status']})" if "status" in keys else ""
        return enclosed(value) + status
    if {"value", "low", "high"} <= keys:
        return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"
    if keys == {"value", "error"}:
        return with_error(value["value"], value["error"])
    if keys == {"value", "stderr"}:
        return f"{number(value['value'], 6)} ± {number(value['stderr'], 2)}"
    if len(value) <= 8 and not any(isinstance(v, (Mapping, list)) for v in value.values()):
        return ", ".join(f"{words(k)} {shown(v)}" for k, v in value.items() if v not in (None, ""))
    return f"{len(value)} entries"


def _listed(values: Sequence[Any]) -> str:
    if values and all(isinstance(v, (list, tuple)) for v in values):
        sizes = {len(v) for v in values}
        return f"{len(values)} × {sizes.pop()}" if len(sizes) == 1 else f"{len(values)} lists"
    if len(values) <= 6:
        return ", ".join(map(shown, values))
    return f"{len(values)} values, {_extent(values)}"


def _extent(values: Iterable[Any]) -> str:
    numbers = [v for v in values if isinstance(v, (int, float))]
    if not numbers:
        return f"such as {next(iter(values))}"
    return f"{number(min(numbers))} … {number(max(numbers))}"
