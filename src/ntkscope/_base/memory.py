"""Memory, counted before it is taken."""

from __future__ import annotations

import resource
import sys

import psutil


class NotEnoughMemoryError(MemoryError):
    """An allocation that would not fit, refused before it was tried."""


def available() -> int:
    """Bytes that can be allocated now without swapping (the container's limit where there is one)."""
    free = int(psutil.virtual_memory().available)
    limit = _cgroup_limit()
    if limit is not None:
        free = min(free, max(0, limit - int(psutil.Process().memory_info().rss)))
    return free


def _cgroup_limit() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            text = file.read().strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def human(nbytes: int | float) -> str:
    """``12.3 GB``, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def require(nbytes: int | float, what: str, remedy: str) -> None:
    """Refuse ``what`` when its ``nbytes`` exceed the free memory.

    Raises NotEnoughMemoryError naming the need, what is free and ``remedy``.
    """
    free = available()
    if nbytes > free:
        raise NotEnoughMemoryError(
            f"{what} needs {human(nbytes)}, and {human(free)} are free; {remedy}"
        )
