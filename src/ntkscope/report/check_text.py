"""The record of a verdict as text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ntkscope.report.card import Card, Grid
from ntkscope.report.numbers import bars

Record = Mapping[str, Any]


def short(x: float | str | None, digits: int = 5) -> str:
    """A number for a table, infinite ones as the text they are in JSON; a dash where there is none."""
    if x is None or x == "nan":
        return "–"
    if isinstance(x, str):
        return x
    return "–" if math.isnan(x) else f"{x + 0.0:.{digits}g}"  # no −0


def mark(item: Record) -> str:
    """The outcome, and what is to be known beside it."""
    if item.get("tautology"):
        return item["outcome"] + " (identity of linear algebra)"
    return item["outcome"] + (" (erratum)" if item.get("erratum") else "")


def claims_of(kind: str) -> Callable[[Record], list[tuple[str, ...]]]:
    """(claim, left, relation, right, slack, outcome) of the inequalities of a kind."""

    def rows(record: Record) -> list[tuple[str, ...]]:
        return [
            (c["name"], short(c["left"]), c["relation"], short(c["right"]), short(c["slack"], 3), mark(c))
            for c in record["inequalities"]
            if c["kind"] == kind
        ]  # fmt: skip

    return rows


def constants_of(kind: str) -> Callable[[Record], list[tuple[str, ...]]]:
    """(claim, measured, expression's value, constant needed, outcome) of the orders of a kind."""

    def rows(record: Record) -> list[tuple[str, ...]]:
        return [
            (
                f"{c['name']} = {c['order']}({c['expression'] or '·'})",
                bars(c["measured"], c["error"], c["standard_error"]), short(c["predicted"]),
                constant(c), c["outcome"],
            )
            for c in record["constants"]
            if c["kind"] == kind
        ]  # fmt: skip

    return rows


def constant(item: Record) -> str:
    """The constant that an order needs, with its error."""
    return bars(item["constant"], item["constant_error"], item["constant_standard_error"])


def summary(record: Record) -> str:
    """The conclusion in a line: why it does not apply, the constant needed, the sides, the rate."""
    unmet = [h["name"] for h in record["hypotheses"] if h["state"] == "not met"]
    if unmet:
        more = f" (and {len(unmet) - 1} more)" if len(unmet) > 1 else ""
        return f"not met: {unmet[0]}{more}"
    failed = [
        *(_sides(c) for c in record["inequalities"] if c["outcome"] == "violated"),
        *(_rate(e) for e in record["events"] if e["outcome"] == "missed"),
    ]
    if failed:
        return _counted(failed)
    concluding = [c for c in record["inequalities"] if c["kind"] == "conclusion"]
    orders = [c for c in record["constants"] if c["kind"] == "conclusion"]
    steps = [c for c in record["inequalities"] if c["kind"] == "step" and not c["tautology"]]
    certain = [c for c in concluding if c["promised"] is None]
    decided = [e for e in record["events"] if e["outcome"] in ("reached", "missed")]
    for items, say in (
        (certain, _sides), (decided, _rate), (concluding, _sides), (orders, _needed),
        (record["events"], _rate),
        (steps, _sides), (record["constants"], _needed),
    ):  # fmt: skip
        if items:
            # what is told is the statement's outcome, so that items with that outcome come first,
            # and of those a lower bound, which says more of λ_min than an upper one
            told = sorted(
                items,
                key=lambda item: (item["outcome"] != record["outcome"], item.get("order") == "O"),
            )
            return _counted([say(item) for item in told], items)
    return ""


def _sides(claim: Record) -> str:
    return (
        f"{claim['name']}: {short(claim['left'], 4)} {claim['relation']} {short(claim['right'], 4)}"
    )


def _rate(event: Record) -> str:
    return f"{event['name']}: {event['successes']}/{event['trials']}, promised {short(event['promised'], 4)}"


def _needed(item: Record) -> str:
    return f"c = {constant(item)} in {item['name']} = {item['order']}({item['expression'] or '·'})"


def _counted(told: list[str], items: Sequence[Record] = ()) -> str:
    """The first, and how many of each outcome there are where there are several."""
    if len(told) == 1:
        return told[0]
    counts = Counter(item["outcome"] for item in items)
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    return f"{told[0]} [{words or f'{len(told)} fail'}]"


def hypothesis_rows(record: Record) -> list[tuple[str, ...]]:
    """(hypothesis, measured, threshold, state, note)."""
    return [
        (
            h["name"], short(h["measured"]),
            ("order of " if h["order"] else "") + short(h["threshold"]),
            h["state"] + (f": {h['needed']}" if h["needed"] else ""), h["note"],
        )
        for h in record["hypotheses"]
    ]  # fmt: skip


def event_rows(record: Record) -> list[tuple[str, ...]]:
    """(event, successes of trials, 99% interval, promised, outcome)."""
    return [
        (
            e["name"] + (f", over {e['over']}" if e["over"] else ""),
            f"{e['successes']}/{e['trials']}" + (f" ({e['undecided']} open)" if e["undecided"] else ""),
            "{:.3f} … {:.3f}".format(*e["interval_99"]), short(e["promised"]), mark(e),
        )
        for e in record["events"]
    ]  # fmt: skip


_WIDE = 100  # columns that tables of six columns need
_CLAIMS = ("claim", "left", "", "right", "slack", "outcome")
_CONSTANTS = ("claim", "measured", "expression", "constant needed", "outcome")
SECTIONS: tuple[tuple[str, tuple[str, ...], Callable[[Record], list[tuple[str, ...]]]], ...] = (
    ("Hypotheses", ("hypothesis", "measured", "threshold", "state", "note"), hypothesis_rows),
    ("Conclusions", _CLAIMS, claims_of("conclusion")),
    ("Conclusions up to a constant", _CONSTANTS, constants_of("conclusion")),
    ("Events", ("event", "met", "99% interval", "promised", "outcome"), event_rows),
    ("Steps", _CLAIMS, claims_of("step")),
    ("Steps up to a constant", _CONSTANTS, constants_of("step")),
)


def as_text(record: Record, width: int = 120) -> str:
    """Tables for a terminal of ``width`` columns."""
    from rich.table import Table

    from ntkscope.report.consoles import printed

    settings = record["settings"]
    said = f": {record['summary']}" if record["summary"] else ""
    parts: list[Any] = [
        f"{record['id']}: {record['title']} ({record['source']})",
        record["claim"],
        f"on {settings.get('network')}, N = {settings.get('N')}",
        f"outcome: {record['outcome']}{said}",
    ]
    for title, columns, rows_of in SECTIONS:
        rows = rows_of(record)
        if rows:
            parts.append((_table if width >= _WIDE else _list)(title, columns, rows))
    for extra in record["tables"]:
        table = Table(*map(str, extra["columns"]), title=extra["title"])
        for row in extra["rows"]:
            table.add_row(*map(_cell, row))
        parts.append(table)
    return printed(*parts, *(f"· {note}" for note in record["notes"]), width=width)


def card(record: Record) -> Card:
    """A verdict as a notebook shows it: what is claimed, its outcome, and its tables."""
    settings = record["settings"]
    made = Card(f"{record['id']}: {record['title']} ({record['source']})")
    made.pairs = [
        ("claim", record["claim"]),
        ("on", f"{settings.get('network')}, N = {settings.get('N')}"),
        ("outcome", record["outcome"]), ("that is", record["summary"] or "–"),
    ]  # fmt: skip
    for title, columns, rows_of in SECTIONS:
        rows = rows_of(record)
        if rows:
            made.grids.append(Grid(title, columns, rows))
    for extra in record["tables"]:
        rows = [tuple(map(_cell, row)) for row in extra["rows"]]
        made.grids.append(Grid(extra["title"], tuple(map(str, extra["columns"])), rows))
    made.notes = list(record["notes"])
    return made


def findings(record: Record) -> list[dict[str, Any]]:
    """Every hypothesis, inequality, constant and event as a row with one set of keys."""
    rows: list[dict[str, Any]] = []
    for h in record["hypotheses"]:
        rows.append(
            {"what": "hypothesis", "name": h["name"], "left": h["measured"], "right": h["threshold"],
             "outcome": h["state"]}
        )  # fmt: skip
    for c in record["inequalities"]:
        rows.append(
            {"what": c["kind"], "name": c["name"], "left": c["left"], "relation": c["relation"],
             "right": c["right"], "outcome": c["outcome"]}
        )  # fmt: skip
    for c in record["constants"]:
        rows.append(
            {"what": f"{c['kind']} up to a constant", "name": c["name"], "left": c["measured"],
             "relation": c["order"], "right": c["predicted"], "constant": c["constant"],
             "outcome": c["outcome"]}
        )  # fmt: skip
    for e in record["events"]:
        rows.append(
            {"what": "event", "name": e["name"], "left": e["successes"] / e["trials"] if e["trials"] else None,
             "right": e["promised"], "outcome": e["outcome"]}
        )  # fmt: skip
    return rows


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _list(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """The rows of a table that has no room: the first cell, and the others below it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Any] = [Text(title, style="bold")]
    for first, *rest in rows:
        told = [(n, c) for n, c in zip(columns[1:], rest, strict=True) if c not in ("", "–")]
        # a relation stands between two columns, and has no name
        below = "; ".join(f"{name} {cell}" if name else cell for name, cell in told)
        for relation in {cell for name, cell in told if not name}:
            below = below.replace(f"; {relation}; ", f" {relation} ")
        lines += [Text(f"• {first}"), Padding(Text(below), (0, 0, 0, 4))]
    return Group(*lines)


def _cell(x: object) -> str:
    return short(x) if isinstance(x, float) else str(x)
