"""Packages that only some uses need: their absence is told with the extra that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around the imports of packages that the extra ``extra`` of ntkscope brings.

    Raises
    ------
    ImportError
        Naming the package that is missing and the line that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "ntkscope":
            raise
        raise ImportError(
            f"{error.name} is not installed, and this needs it: pip install 'ntkscope[{extra}]'"
        ) from error
