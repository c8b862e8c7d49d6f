"""Runs units of work where the engine says."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

from ntkscope._base import memory
from ntkscope.engines.engine import Engine
from ntkscope.experiments.running.rows import Row
from ntkscope.experiments.running.units import Unit, execute

_CLUSTERS_MOST = 3  # sets of local processes, should all of one be lost


def run_units(work: Sequence[Unit], engine: Engine, sink: Callable[[Sequence[Row]], None]) -> None:
    """Run every unit; ``sink`` takes rows as they come, in this process and thread.

    Raises what ``sink`` raises, ImportError where the engine's libraries are missing,
    ConnectionError when a cluster is gone.
    """
    workers = engine.n_workers(len(work))
    if not work:
        return
    if engine.local and workers == 0:
        for unit in work:
            sink(execute((unit,)))
        return
    _run_on_cluster(work, engine, workers, sink)


def _run_on_cluster(
    work: Sequence[Unit], engine: Engine, workers: int, sink: Callable[[Sequence[Row]], None]
) -> None:
    """Run every unit on the engine's cluster; local processes that are lost for good are replaced.

    Raises ConnectionError when a cluster is gone.
    """
    from ntkscope.engines.clusters import cleared_threads, connected
    from ntkscope.experiments.running.dispatch import Dispatcher, WorkersGoneError

    for attempt in range(_CLUSTERS_MOST):
        try:
            with cleared_threads(), connected(engine, workers) as (client, slots):
                budget = 0.9 * memory.available() if engine.local else float("inf")
                Dispatcher(client, work, sink, slots, budget).run()
            return
        except WorkersGoneError as gone:
            if attempt == _CLUSTERS_MOST - 1:
                raise
            work = gone.left


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """SIGTERM, as batch systems send it, ends a sweep as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
