"""What a kernel of a module may not do."""

from __future__ import annotations

from collections.abc import Collection


class SelfCheckError(ValueError):
    """A kernel's entry, or a factor behind it, disagrees with autograd beyond rounding."""


class OtherWayError(SelfCheckError):
    """A pass uses parameters, ``names``, otherwise than the first samples' did.

    by_calls: by other calls, for as many samples as these are; else by sums that are not autograd's.
    """

    def __init__(self, names: Collection[str], message: str, by_calls: bool = False) -> None:
        super().__init__(message)
        self.names, self.by_calls = tuple(names), by_calls
