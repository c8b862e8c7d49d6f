"""Independent work shared among threads, each of which has its operations to itself.

An operation shared among all threads ends with its slowest; a busy core holds up each of them, where
it holds up one job here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

_Job = TypeVar("_Job")

_MOST = 4  # at once: each has scratch of its own


def workers(jobs: int, device: torch.device) -> int:
    """How many of ``jobs`` on a device run at once: one where it is no CPU, else one a thread of torch's."""
    import torch

    return max(1, min(torch.get_num_threads(), jobs, _MOST)) if device.type == "cpu" else 1


def each(use: Callable[[_Job], object], jobs: Iterable[_Job], device: torch.device) -> None:
    """``use`` every job, the first first. Where one raises, those not begun are left, and it is raised here.

    Gradients are on in all of them. torch's count of threads is at the end as it was.
    """
    import torch

    listed, threads = list(jobs), torch.get_num_threads()
    at_once = workers(len(listed), device)
    if at_once == 1:
        for job in listed:
            use(job)
        return
    try:
        with ThreadPoolExecutor(
            at_once, "ntkscope", torch.set_num_threads, (threads // at_once,)
        ) as pool:
            given = [pool.submit(use, job) for job in listed]
            try:
                for one in given:
                    one.result()
            finally:
                for one in given:
                    one.cancel()
    finally:
        torch.set_num_threads(threads)  # which is the process's too
