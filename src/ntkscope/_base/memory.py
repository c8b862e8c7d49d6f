"""Memory, counted before it is taken."""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class NotEnoughMemoryError(MemoryError):
    """An allocation that would not fit, refused before it was tried."""


def available(device: torch.device | None = None) -> int:
    """Bytes that can be allocated now without swapping (the container's limit where there is one).

    Of a GPU what the driver has free and what torch keeps for later.
    """
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free, resident = _system()
    limit = _cgroup_limit()
    return free if limit is None else min(free, max(0, limit - resident))


def _system() -> tuple[int, int]:
    """(bytes that the system can give, bytes that this process holds)."""
    if os.path.exists("/proc/meminfo"):
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return 1024 * free, pages * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.virtual_memory().available), int(psutil.Process().memory_info().rss)


def _cgroup_limit() -> int | None:
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            text = file.read().strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def keep_freed() -> None:
    """Let what is freed be taken again without the system's fresh pages, which cost a third of a pass.

    glibc keeps twice the largest block freed so far, of at most 32 MB (``mallopt(3)``). Elsewhere
    this does nothing; the block is never touched.
    """
    np.empty((1 << 25) - (1 << 15), dtype=np.uint8)


def peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    if os.path.exists("/proc/self/status"):  # there ru_maxrss begins with the parent's
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def human(nbytes: int | float) -> str:
    """``12.3 GB``, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def require(
    nbytes: int | float, what: str, remedy: str, device: torch.device | None = None
) -> None:
    """Refuse ``what`` when its ``nbytes`` exceed the free memory, of a GPU where ``device`` is one.

    Raises NotEnoughMemoryError naming the need, what is free and ``remedy``.
    """
    on_gpu = device is not None and device.type == "cuda"
    free = available(device) if on_gpu else available()
    if nbytes > free:
        raise NotEnoughMemoryError(
            f"{what} needs {human(nbytes)}, and {human(free)} are free; {remedy}"
        )
