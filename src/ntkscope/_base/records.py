"""Results as plain values: what JSON, the pages and the terminal read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from enum import Enum
from inspect import isroutine
from operator import attrgetter
from typing import Any, ClassVar, cast


def plain(value: Any) -> Any:
    """``value`` as ``None``, booleans, numbers, strings, lists and dictionaries with string keys.

    A :class:`Record` becomes its ``to_dict()``, another dataclass its fields, an enum its name (a
    ``StrEnum`` its string), an array or tensor of any kind nested lists, a path its string. NaN
    and infinities stay floats here; the file format decides on them.

    Raises
    ------
    TypeError
        For anything else, naming its type.
    """
    if isinstance(value, Enum):
        return value.value if isinstance(value, str) else value.name
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [plain(item) for item in value]
    if not isinstance(value, type):
        if hasattr(value, "to_dict"):
            return plain(value.to_dict())
        if hasattr(value, "tolist"):  # arrays, tensors and NumPy's scalars, without importing them
            return plain(value.tolist())
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        for kind in (int, float, str):
            if isinstance(value, kind):
                return kind(value)
    raise TypeError(
        f"a record holds numbers, text, arrays and dataclasses of them, got {type(value).__name__}; "
        "leave the field out with Record(without=…), or give its class a to_dict()"
    )


class Record:
    """A result dataclass that says itself in plain values: ``class Found(Record, also=("holds",))``.

    Parameters of the class
    -----------------------
    without
        Fields that are not written, such as weights.
    also
        Properties (or methods without arguments) that are: names, or a mapping from the key to a
        dotted path, ``{"network": "model.network"}``. A subclass adds to what its base says.
    """

    _without: ClassVar[frozenset[str]] = frozenset()
    _also: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(
        cls,
        *,
        without: Iterable[str] = (),
        also: Iterable[str] | Mapping[str, str] = (),
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        more = also if isinstance(also, Mapping) else {name: name for name in also}
        cls._without = cls._without | set(without)
        cls._also = {**cls._also, **more}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        fields = dataclasses.fields(cast(Any, self))
        keys = {f.name: f.name for f in fields if f.name not in self._without}
        found = {}
        for key, path in {**keys, **self._also}.items():
            value = attrgetter(path)(self)
            found[key] = plain(value() if isroutine(value) else value)
        return found
