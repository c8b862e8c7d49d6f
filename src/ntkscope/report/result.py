"""How a result shows itself: a line, a table, a piece of a notebook's page, a drawing, a data frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.records import Record, plain
from ntkscope.report import card
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart

_LINE = 140  # letters of a repr


class Shown:
    """One line as ``repr``, a table as ``str``, the same table in a notebook.

    A class gives ``to_dict()``. Where its plain values are not the best table it gives ``_card()``, or
    its own ``__str__``, whose lines a notebook then shows.
    """

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "__repr__" not in vars(cls):
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # so that dataclass() makes none

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        raise NotImplementedError(f"{type(self).__name__} gives no to_dict()")

    def _card(self) -> Card:
        name = type(self).__name__
        if type(self).__str__ is not Shown.__str__:
            return Card(name, text=str(self))
        return card.of(self.to_dict(), name)

    def __repr__(self) -> str:
        return line(self)

    def __str__(self) -> str:
        return card.text(self._card())

    def _repr_html_(self) -> str:
        return card.html(self._card())


class Result(Shown, Record):
    """A dataclass of results: its plain values from its fields, see :class:`Record`."""

    to_dict = Record.to_dict


class Drawn:
    """A result that has a chart."""

    def _chart(self) -> Chart:
        raise NotImplementedError(f"{type(self).__name__} gives no chart")

    def plot(self, ax: Any = None) -> Any:
        """Draw on a matplotlib axes, a new one unless ``ax`` is given; returns the axes."""
        from ntkscope.report.drawn import draw

        return draw(self._chart(), ax)


class Tabular:
    """A result that is, or has, a table."""

    def _rows(self) -> Sequence[Any]:
        """A record a row: mappings, or what :func:`plain` makes mappings of."""
        raise NotImplementedError(f"{type(self).__name__} gives no rows")

    def to_pandas(self) -> Any:
        """The table as a ``pandas.DataFrame``. Raises ImportError without pandas."""
        return frame([plain(row) for row in self._rows()])


def frame(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Any:
    """Records as a ``pandas.DataFrame``; a record inside of one gives a column for each of its keys."""
    with needs("notebook"):
        import pandas as pd
    if columns is not None:
        return pd.DataFrame.from_records(list(records), columns=list(columns))
    return pd.json_normalize([dict(record) for record in records], sep="_")


def line(result: Any) -> str:
    """``Name(field=value, …)`` of a dataclass, in 140 letters; what is large by its size, no addresses."""
    told = ""
    for field in dataclasses.fields(result):
        if not field.repr:
            continue
        part = f"{field.name}={brief(getattr(result, field.name))}"
        if len(told) + len(part) > _LINE:
            told += ", …"
            break
        told += f", {part}" if told else part
    return f"{type(result).__name__}({told})"


def brief(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, Enum):
        return value.value if isinstance(value, str) else value.name
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, str):
        flat = " ".join(value.split())
        return repr(flat if len(flat) <= 40 else flat[:39] + "…")
    if hasattr(value, "shape"):
        return f"{type(value).__name__}({'×'.join(map(str, value.shape))})"
    if isinstance(value, (list, tuple)):
        if len(value) <= 4 and all(isinstance(v, (str, int, float)) for v in value):
            return f"({', '.join(map(brief, value))})"
        return f"[{len(value)}]"
    if isinstance(value, (dict, set, frozenset)):
        return f"{{{len(value)}}}"
    return type(value).__name__
