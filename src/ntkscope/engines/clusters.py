"""Dask clusters: the one that a run starts for itself, SLURM's, and those that are there.

Whoever reaches a Dask port runs code as its owner, and any user of a machine reaches its loopback.
So whatever is started here listens with TLS alone, and answers those who hold the keys that were
made for this run; local processes listen on 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.engines.engine import Engine

with needs("sweep"):
    import dask
    import distributed

_SLURM = ("jobs", "cores", "processes", "memory", "queue", "walltime", "account", "interface")
_CONFIG: dict[str, Any] = {
    # who submits tries again what was on a worker that died
    "distributed.scheduler.allowed-failures": 0,
    # it slows short torch trials by 15 to 40%
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.admin.log-length": 100,
    # a hundred looks a second at what every thread does, and clocks that nobody reads: a twelfth of a core
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    # pages of a web server that is not started
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def cleared_threads() -> Iterator[None]:
    """Nannies set the thread counts of BLAS in this process' environment too: put them back."""
    before = {name: os.environ.get(name) for name in _THREADS}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def connected(engine: Engine, workers: int) -> Iterator[tuple[Any, int]]:
    """A client, and how many threads of work its cluster holds."""
    if isinstance(engine.cluster, distributed.Client):
        yield engine.cluster, 0
        return
    with dask.config.set(_CONFIG), contextlib.ExitStack() as stack:
        if engine.cluster is None:
            cluster = local_cluster(workers)
            stack.callback(_close_local, cluster)
        elif parse_spec(str(engine.cluster)).name == "slurm":
            cluster = _slurm_cluster(parse_spec(engine.cluster))
            stack.callback(_close, cluster, 2)
        else:
            cluster = None
        client = _connect(engine, cluster)
        stack.callback(_close, client, 1)
        yield client, workers if engine.cluster is None else 0


def _connect(engine: Engine, cluster: Any) -> Any:
    if cluster is not None:
        return distributed.Client(cluster, set_as_default=False)
    options: dict[str, Any] = {"set_as_default": False, "timeout": 10}
    if engine.tls is not None:
        options["security"] = distributed.Security(
            tls_ca_file=engine.tls.ca, tls_client_cert=engine.tls.certificate,
            tls_client_key=engine.tls.key, require_encryption=True,
        )  # fmt: skip
    address = str(engine.cluster)
    if address.endswith(".json"):
        if not Path(address).exists():
            raise FileNotFoundError(f"no scheduler file {address!r}")
        return distributed.Client(scheduler_file=address, **options)
    try:
        return distributed.Client(address, **options)
    except OSError as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {address!r} ({error}); "
            "give tcp://host:port, a scheduler file, or slurm:…"
        ) from None


# Dask opens a web server beside each TLS port even with the dashboard off, in plain HTTP and, on some
# paths, for every interface
class Scheduler(distributed.Scheduler):
    """A scheduler that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class Worker(distributed.Worker):
    """A worker that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class _LocalCluster(distributed.SpecCluster):
    """A cluster with the loop that it was given."""

    runner: Any


def local_cluster(workers: int) -> Any:
    """Processes of this machine, each with one thread; restarted when they die.

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
    runner = _runner_without_interrupts()
    made: Any = _LocalCluster.__new__(_LocalCluster)
    made.runner = runner
    begin: Any = _LocalCluster.__init__
    try:
        begin(
            made,
            scheduler={"cls": Scheduler, "options": {**listen, "dashboard": False}},
            workers={k: {"cls": distributed.Nanny, "options": nanny} for k in range(workers)},
            security=keys,
            silence_logs=50,
            loop=runner.loop,
        )
    except RuntimeError as error:
        raise ConnectionError(
            f"{workers} local worker processes could not be started ({error}); use --workers 0, or call "
            "from a script whose main part is under if __name__ == '__main__'"
        ) from error
    except KeyboardInterrupt:
        _kill_workers(made)
        # what is cut off is no news, and the end of Python need not wait for it
        runner.loop.asyncio_loop.set_exception_handler(lambda *_: None)
        _LocalCluster._instances.discard(made)
        raise
    return made


def _runner_without_interrupts() -> Any:
    """A loop that runs in a thread of its own, from which Ctrl-C is kept.

    A terminal sends Ctrl-C to every process. What a thread starts inherits what it does not hear, so
    that the workers do not answer with tracebacks, from whichever import they are at.
    """
    resource_tracker.ensure_running()  # which lets the thread that starts it hear again
    runner = distributed.utils.LoopRunner()
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        runner.start()
        return runner
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return runner


def keys_of_this_run() -> Any:
    """One key for both sides of every connection, known to this run's processes."""
    with needs("sweep"):
        import cryptography  # noqa: F401  # distributed's own message names no extra
    return distributed.Security.temporary()


def _close_local(cluster: Any) -> None:
    _kill_workers(cluster)
    _close(cluster, 2)
    cluster.runner.stop(timeout=2)


def _kill_workers(cluster: Any) -> None:
    """End the workers at once: a task in LAPACK answers no polite request."""
    for nanny in list(
        getattr(cluster, "workers", {}).values()
    ):  # none yet where a start was cut off
        nanny.auto_restart = False
        process = getattr(nanny, "process", None)
        pid = getattr(process, "pid", None)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _close(what: Any, seconds: int) -> None:
    """Close a client or a cluster; a slow goodbye must not hide why the run ended."""
    with contextlib.suppress(TimeoutError, OSError, RuntimeError):
        what.close(timeout=seconds)


def _slurm_cluster(spec: Spec) -> Any:
    with needs("sweep"):
        from dask_jobqueue.slurm import SLURMCluster
    reject_unknown_options("cluster", spec, _SLURM)
    options: dict[str, Any] = dict(spec.options)
    jobs = options.pop("jobs", 1)
    if isinstance(jobs, (bool, str)) or jobs < 1:
        raise ValueError(f"slurm: jobs must be a positive number, got {jobs!r}")
    cores = int(options.setdefault("cores", 1))
    options.setdefault("processes", cores)
    options.setdefault("memory", "4GB")
    cluster: Any = SLURMCluster(
        **options,
        security=keys_of_this_run(),
        protocol="tls",
        shared_temp_directory=str(Path.cwd()),  # the jobs' key files, for their owner alone (0600)
        scheduler_cls=Scheduler,
        scheduler_options={"dashboard": False},
        worker_extra_args=[
            "--no-dashboard", "--worker-class", f"{Worker.__module__}.{Worker.__qualname__}",
        ],
    )  # fmt: skip
    cluster.scale(jobs=int(jobs))
    return cluster
