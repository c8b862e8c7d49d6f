"""Tasks given out and results taken back: in this process, or on a Dask cluster that loses workers."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from ntkscope.engines.engine import Engine

_DEATHS_MOST = 4  # workers that may die of one task
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0  # without a single worker


@runtime_checkable
class Pool(Protocol):
    """Where tasks run.

    remote: whether tasks run in other processes; slots: how many at once; copies: of what a task
    needs in memory of this machine.
    """

    remote: bool
    copies: int

    @property
    def slots(self) -> int: ...

    def submit(self, tag: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        """Give out ``function(*arguments)``, which must not mind being run twice."""

    def next(self) -> tuple[Any, Any]:
        """(tag, result) of a task that has ended; raises what the task raised."""

    def drop(self) -> None:
        """Forget what was given out; what runs may run on for a while."""


class Here:
    """This process: a task runs when its result is asked for."""

    slots, remote, copies = 1, False, 0

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Callable[..., Any], tuple[Any, ...]]] = deque()

    def submit(self, tag: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((tag, function, arguments))

    def next(self) -> tuple[Any, Any]:
        tag, function, arguments = self._waiting.popleft()
        return tag, function(*arguments)

    def drop(self) -> None:
        self._waiting.clear()


class Threads:
    """Threads of this process: for tasks that spend their time in BLAS and in files."""

    remote, copies = False, 0

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._executor = ThreadPoolExecutor(slots, initializer=_alone)
        self._given: dict[Future[Any], Any] = {}

    def submit(self, tag: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        self._given[self._executor.submit(function, *arguments)] = tag

    def next(self) -> tuple[Any, Any]:
        ended = wait(self._given, return_when=FIRST_COMPLETED).done.pop()
        return self._given.pop(ended), ended.result()

    def drop(self) -> None:
        for future in self._given:
            future.cancel()
        wait(self._given)
        self._given.clear()

    def close(self) -> None:
        self._executor.shutdown()


def _alone() -> None:
    """One thread of BLAS in each of several threads."""
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True)
class _Given:
    tag: Any
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    deaths: int = 0


class OnCluster:
    """A Dask client: a task whose worker died is given out again.

    ``slots`` counts the local processes behind it, and is 0 for a cluster that says it itself.
    """

    remote = True

    def __init__(self, client: Any, slots: int) -> None:
        from distributed import as_completed

        self._client, self._fixed, self.copies = client, slots, slots
        self._given: dict[str, _Given] = {}
        self._completed: Any = as_completed(loop=client.loop)
        self._count = 0

    @property
    def slots(self) -> int:
        return self._fixed or max(1, sum(self._client.nthreads().values()))

    def submit(self, tag: Hashable, function: Callable[..., Any], *arguments: Any) -> None:
        self._give(_Given(tag, function, arguments))

    def _give(self, task: _Given) -> None:
        self._count += 1
        key = f"{task.function.__name__}-{id(self)}-{self._count}"
        self._given[key] = task
        future = self._client.submit(task.function, *task.arguments, key=key, pure=False)
        self._completed.add(future)

    def next(self) -> tuple[Any, Any]:
        while True:
            self._await()
            future = next(self._completed)
            task = self._given.pop(future.key)
            if future.status == "finished":
                result = future.result()
                future.release()
                return task.tag, result
            self._again(task, future)

    def _again(self, task: _Given, future: Any) -> None:
        """Give a task out once more; raise its own error, or that nobody is left to run it."""
        from distributed import KilledWorker

        lost = future.status in ("cancelled", "lost")
        if not lost and not isinstance(error := future.exception(), KilledWorker):
            future.release()
            raise error if error is not None else RuntimeError(f"a task ended as {future.status}")
        if self._client.status != "running" or task.deaths + 1 >= _DEATHS_MOST:
            raise ConnectionError(
                f"the cluster is gone, or {_DEATHS_MOST} workers died of one task (killed for their "
                "memory?); what is finished is kept where a folder was given: run the same again"
            )
        self._give(replace(task, deaths=task.deaths + 1))

    def _await(self) -> None:
        """Until a task has ended; a cluster without workers says nothing by itself."""
        alive, ready = time.monotonic(), self._completed.thread_condition
        while not self._completed.has_ready():
            with ready:
                if not self._completed.has_ready():
                    ready.wait(_LOOK_SECONDS)
            now = time.monotonic()
            if self._client.status == "running" and self._client.nthreads():
                alive = now
            elif now - alive > _PATIENCE_SECONDS:
                raise ConnectionError(
                    f"no worker for {_PATIENCE_SECONDS:.0f} s; what is finished is kept where a "
                    "folder was given: run the same again when there are workers"
                )

    def drop(self) -> None:
        if self._given and self._client.status == "running":
            self._client.cancel(list(self._given), force=True)
        self._given.clear()
        self._completed.clear()


@contextlib.contextmanager
def pool(engine: Engine, n_tasks: int, threads: int = 1) -> Iterator[Pool]:
    """Where the tasks of an engine run; ``n_tasks`` is how many may run at once, and ``threads`` how
    many of them in this process.

    Raises ImportError where the engine's libraries are missing, ConnectionError where no cluster
    answers.
    """
    workers = engine.n_workers(n_tasks)
    if engine.local and workers == 0:
        yield from _here(min(threads, n_tasks))
        return
    from ntkscope.engines.clusters import cleared_threads, connected

    with cleared_threads(), connected(engine, workers) as (client, slots):
        made = OnCluster(client, slots)
        try:
            yield made
        finally:
            made.drop()


def _here(threads: int) -> Iterator[Pool]:
    if threads == 1:
        yield Here()
        return
    made = Threads(threads)
    try:
        yield made
    finally:
        made.drop()
        made.close()
