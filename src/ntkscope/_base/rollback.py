"""Tables that are put back when what was adding to them fails."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

_Table = TypeVar("_Table", bound=MutableMapping[Any, Any])
_TABLES: list[MutableMapping[Any, Any]] = []


def restorable(table: _Table) -> _Table:
    """The table itself; :func:`all_or_nothing` now restores it."""
    _TABLES.append(table)
    return table


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Give every restorable table its present entries again if the block raises."""
    before = [(table, dict(table)) for table in _TABLES]
    try:
        yield
    except BaseException:
        for table, entries in before:
            table.clear()
            table.update(entries)
        raise
