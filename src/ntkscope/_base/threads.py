"""Independent work shared among threads, each of which has its operations to itself.

An operation shared among all threads ends with its slowest; a busy core holds up each of them, where
it holds up one job here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

_Job = TypeVar("_Job")

_MOST = 4  # at once: each has scratch of its own
_STARTING = threading.Lock()


def workers(jobs: int, device: torch.device) -> int:
    """How many of ``jobs`` on a device run at once: one where it is no CPU, else one a thread of torch's."""
    return max(1, min(_own_threads(), jobs, _MOST)) if device.type == "cpu" else 1


def _own_threads() -> int:
    """torch's threads of the caller's, who may be a thread that asks for the first time."""
    import torch

    with _STARTING:
        return torch.get_num_threads()


def each(
    use: Callable[[_Job], object], jobs: Iterable[_Job], device: torch.device, most: int = _MOST
) -> None:
    """``use`` every job, the first first, at most ``most`` at once.

    Where one raises, those not begun are left, and it is raised here. One at a time they run on the caller's
    thread, in its modes; else on threads of their own with gradients on, which share torch's among them.
    """
    listed = list(jobs)
    at_once = min(workers(len(listed), device), max(1, most))
    if at_once == 1:
        for job in listed:
            use(job)
        return
    with _Pool(at_once) as pool:
        given = []
        try:
            given += [pool.submit(use, job) for job in listed]
            done = wait(given, return_when=FIRST_EXCEPTION).done
        finally:
            for one in given:
                one.cancel()
    for one in done:
        one.result()


class _Pool(ThreadPoolExecutor):
    """So many threads, each with its share of the caller's threads of torch.

    Setting a thread's count sets that of the process too, which threads to come begin with: it is put back as
    soon as all have theirs, and one pool starts at a time.
    """

    def __init__(self, at_once: int) -> None:
        import torch

        threads = _own_threads()
        begun, all_have = threading.Semaphore(0), threading.Event()

        def begin() -> None:
            torch.get_num_threads()  # a thread's first question would take the process's count later
            torch.set_num_threads(threads // at_once)
            begun.release()
            all_have.wait()  # idle, it would be given a job in place of a thread to come

        super().__init__(at_once, "ntkscope", begin)
        with _STARTING:
            try:
                for _ in range(at_once):
                    self.submit(int)
                for _ in range(at_once):
                    begun.acquire()
            finally:
                torch.set_num_threads(threads)
                all_have.set()
