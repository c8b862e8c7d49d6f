"""Things that users name and may add to: a name, once, and what stands behind it."""

from __future__ import annotations

from typing import Generic, TypeVar

from ntkscope._base.rollback import restorable
from ntkscope._base.specs import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing ("activation", "initialization", …), in the order they came."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = restorable({})

    def add(self, name: str, entry: T) -> None:
        """Raises ValueError for a name that is taken, or that ``name:key=value`` could not hold."""
        if not name or any(c in ":,=" or c.isspace() for c in name):
            raise ValueError(
                f"the name of this {self.kind} must be one word without options, such as 'swish', "
                f"got {name!r}"
            )
        if self._entries.get(name, entry) is not entry:
            raise ValueError(f"the {self.kind} {name!r} is registered already; take another name")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """Raises ValueError for an unknown name, with the nearest one and all of them."""
        if name not in self._entries:
            raise ValueError(unknown(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they were added."""
        return tuple(self._entries)
