"""Local worker processes: how they start, and how all of it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.engines.listening import Scheduler, Worker, keys_of_this_run

with needs("sweep"):
    import distributed
    from tornado.ioloop import IOLoop

_LOGS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
_GOODBYE_SECONDS = 5.0
_LOOP = "Dask loop"


class LocalCluster(distributed.SpecCluster):
    """A scheduler and worker processes of this machine, with a loop of their own."""

    begun: contextlib.ExitStack

    def end(self) -> None:
        """Workers, then scheduler, then loop; nothing is left to the end of Python.

        What the run wanted has come back or is given up, so that no complaint of what is cut off here is
        news, and none is heard.
        """
        try:
            _kill_workers(self)
            with contextlib.suppress(TimeoutError, OSError, RuntimeError):
                self.close(timeout=_GOODBYE_SECONDS)
        finally:
            self._instances.discard(self)  # Dask closes at the end of Python what it finds there
            self.begun.close()


def local_cluster(workers: int, gpus: Sequence[str] = ()) -> LocalCluster:
    """Processes of this machine, each with one thread; restarted when they die, until ``end``.

    ``gpus``, where there are any, are taken in turn: a worker sees one of them alone.

    Raises ConnectionError where they cannot be started.
    """
    keys = keys_of_this_run()
    listen = {"host": "127.0.0.1", "protocol": "tls://", "security": keys}
    nanny = {
        **listen,
        "worker_class": Worker,
        "nthreads": 1,
        "memory_limit": 0,  # work is counted before it starts; no worker is killed for size
        "silence_logs": 50,
    }
    sees = [{"CUDA_VISIBLE_DEVICES": gpus[k % len(gpus)]} if gpus else {} for k in range(workers)]
    made: Any = LocalCluster.__new__(LocalCluster)
    begin: Any = LocalCluster.__init__
    made.begun = contextlib.ExitStack()
    made.begun.enter_context(_quiet())
    loop = made.begun.enter_context(_loop_without_interrupts())
    try:
        begin(
            made,
            scheduler={"cls": Scheduler, "options": {**listen, "dashboard": False}},
            workers={
                k: {"cls": distributed.Nanny, "options": {**nanny, "env": env}}
                for k, env in enumerate(sees)
            },
            security=keys,
            loop=loop,
        )
    except BaseException as error:
        _kill_workers(made)
        LocalCluster._instances.discard(made)
        made.begun.close()
        if not isinstance(error, RuntimeError):
            raise
        raise ConnectionError(
            f"{workers} local worker processes could not be started ({error}); use --workers 0, or call "
            "from a script whose main part is under if __name__ == '__main__'"
        ) from error
    return made


def _kill_workers(cluster: Any) -> None:
    """End the workers at once: a task in LAPACK answers no polite request."""
    nannies = getattr(cluster, "workers", {})  # none yet where a start was cut off
    for nanny in list(nannies.values()):
        nanny.close_gracefully()  # or it would start another, which finds no scheduler
        pid = getattr(nanny, "pid", None)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask's own logs say nothing; what ends a run is raised by who waits for it.

    The loop of :func:`_loop_without_interrupts` stays silent after the block: on a busy machine it may cancel
    tasks later than that.
    """
    logging.getLogger("distributed.process").setLevel(logging.WARNING)  # it lists workers at exit
    logs = [logging.getLogger(name) for name in _LOGS]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
        for handler in log.handlers:
            handler.addFilter(_not_of_our_loop)  # once, however often it is added
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _not_of_our_loop(record: logging.LogRecord) -> bool:
    return record.threadName != _LOOP


@contextlib.contextmanager
def _loop_without_interrupts() -> Iterator[IOLoop]:
    """A loop that runs in a thread of its own, from which Ctrl-C is kept.

    A terminal sends Ctrl-C to every process. What a thread starts inherits what it does not hear, so
    that the workers do not answer with tracebacks, from whichever import they are at.
    """
    ready, loops, ends = threading.Event(), list[IOLoop](), list[asyncio.Event]()

    async def run() -> None:
        loops.append(IOLoop.current())
        ends.append(asyncio.Event())
        ready.set()
        await ends[0].wait()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name=_LOOP, daemon=True)
    resource_tracker.ensure_running()  # which lets the thread that starts it hear again
    with _deaf():
        thread.start()
    ready.wait()
    try:
        yield loops[0]
    finally:
        loops[0].add_callback(ends[0].set)
        thread.join(_GOODBYE_SECONDS)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Keep Ctrl-C from what this thread starts."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
