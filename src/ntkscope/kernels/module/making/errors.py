"""What a kernel of a module may not do."""

from __future__ import annotations

from collections.abc import Collection


class SelfCheckError(ValueError):
    """A kernel's entry, or a factor behind it, disagrees with autograd beyond rounding."""


class OtherWayError(SelfCheckError):
    """A pass uses parameters, ``names``, otherwise than the first samples' did."""

    def __init__(self, names: Collection[str], message: str) -> None:
        super().__init__(message)
        self.names = tuple(names)
