"""Where trials run: in this process, on local processes, on a Dask cluster, on SLURM.

The one module that imports ``distributed``. Nothing listens beyond loopback unless a cluster that
does is asked for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkscope._base import memory
from ntkscope._base.extras import needs
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.experiments.running.dispatch import Dispatcher, WorkersGoneError
from ntkscope.experiments.running.trial import Row, Unit, execute

Sink = Callable[[Sequence[Row]], None]

_CLUSTERS_MOST = 3  # sets of local processes, should all of one be lost
_SLURM = ("jobs", "cores", "processes", "memory", "queue", "walltime", "account", "interface")
_CONFIG: dict[str, Any] = {
    # the dispatcher itself tries again, alone, what was on a worker that died
    "distributed.scheduler.allowed-failures": 0,
    # it slows short torch trials by 15 to 40%
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.admin.log-length": 100,
}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Tls:
    """Files for a TLS connection to a cluster: certificate authority, certificate, key (PEM)."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class Engine:
    """Where to run.

    workers: local processes; ``None`` is one a core (within ``$NTKSCOPE_WORKERS``), 0 this process.
    cluster: instead of local processes, the address of a Dask scheduler, a scheduler file
        (``.json``), ``"slurm:jobs=4,cores=8,memory=16GB,queue=main,walltime=01:00:00"``, or a
        ``distributed.Client`` of your own.
    tls: files to use with an address; ``True`` makes temporary keys for a local cluster (SLURM
        has them by default, since its jobs talk over the network; ``False`` turns them off).
    """

    workers: int | None = None
    cluster: Any = None
    tls: Tls | bool | None = None

    @property
    def local(self) -> bool:
        """Whether trials run on this machine's memory."""
        return self.cluster is None


def run_units(work: Sequence[Unit], engine: Engine, sink: Sink) -> None:
    """Run every unit; ``sink`` takes rows as they come, in this process and thread.

    Raises what ``sink`` raises, ImportError where the engine's libraries are missing,
    ConnectionError when a cluster is gone.
    """
    if not work:
        return
    workers = _workers(engine, len(work))
    if engine.local and workers == 0:
        for unit in work:
            sink(execute((unit,)))
        return
    _distributed()
    for attempt in range(_CLUSTERS_MOST):
        try:
            with _cleared_threads(), _client(engine, workers) as (client, slots):
                budget = 0.9 * memory.available() if engine.local else float("inf")
                Dispatcher(client, work, sink, slots, budget).run()
            return
        except WorkersGoneError as gone:
            if attempt == _CLUSTERS_MOST - 1:
                raise
            work = gone.left


def _workers(engine: Engine, n_units: int) -> int:
    if engine.workers is not None:
        if engine.workers < 0:
            raise ValueError(f"workers must be 0 (this process) or more, got {engine.workers}")
        return min(engine.workers, n_units)
    return min(int(os.environ.get("NTKSCOPE_WORKERS", "0")) or _cores(), n_units)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _distributed() -> Any:
    with needs("sweep"):
        import distributed
    return distributed


@contextlib.contextmanager
def _cleared_threads() -> Iterator[None]:
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
def _client(engine: Engine, workers: int) -> Iterator[tuple[Any, int]]:
    """A client, and how many threads of work its cluster holds."""
    distributed = _distributed()
    import dask

    if isinstance(engine.cluster, distributed.Client):
        yield engine.cluster, 0
        return
    with dask.config.set(_CONFIG), contextlib.ExitStack() as stack:
        if engine.cluster is None:
            cluster = _local_cluster(workers, engine.tls)
            stack.callback(_close_local, cluster)
        elif parse_spec(str(engine.cluster)).name == "slurm":
            cluster = _slurm_cluster(parse_spec(engine.cluster), engine.tls)
            stack.callback(_close, cluster, 2)
        else:
            cluster = None
        client = _connect(engine, cluster)
        stack.callback(_close, client, 1)
        yield client, workers if engine.cluster is None else 0


def _connect(engine: Engine, cluster: Any) -> Any:
    distributed = _distributed()
    if cluster is not None:
        return distributed.Client(cluster, set_as_default=False)
    options: dict[str, Any] = {"set_as_default": False, "timeout": 10}
    if isinstance(engine.tls, Tls):
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


def _local_cluster(workers: int, tls: Tls | bool | None) -> Any:
    distributed = _distributed()
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tls" if tls else "tcp",
        security=_temporary_keys() if tls else None,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        memory_limit=0,  # trials are counted before they start; no worker is killed for size
        silence_logs=50,
    )


def _temporary_keys() -> Any:
    try:
        return _distributed().Security.temporary()
    except ImportError:
        raise ImportError(
            "temporary TLS keys need the package cryptography: pip install cryptography"
        ) from None


def _close_local(cluster: Any) -> None:
    """End the workers at once: a trial in LAPACK answers no polite request."""
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        process = getattr(nanny, "process", None)
        pid = getattr(process, "pid", None)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _close(cluster, 2)


def _close(what: Any, seconds: int) -> None:
    """Close a client or a cluster; a slow goodbye must not hide why the run ended."""
    with contextlib.suppress(TimeoutError, OSError, RuntimeError):
        what.close(timeout=seconds)


def _slurm_cluster(spec: Spec, tls: Tls | bool | None) -> Any:
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
    made: dict[str, Any] = {}
    if tls is not False:
        made = {"security": _temporary_keys(), "protocol": "tls"}
        made["shared_temp_directory"] = str(Path.cwd())
    cluster: Any = SLURMCluster(**options, **made, scheduler_options={"dashboard_address": None})
    cluster.scale(jobs=int(jobs))
    return cluster


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
