"""Runs units of work where the engine says."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

from ntkscope.experiments.running.engine import Engine
from ntkscope.experiments.running.rows import Row
from ntkscope.experiments.running.units import Unit, execute


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
    from ntkscope.experiments.running.clusters import run_on_cluster

    run_on_cluster(work, engine, workers, sink)


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
