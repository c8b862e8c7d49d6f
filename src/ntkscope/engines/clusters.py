"""Dask clusters: the one that a run starts for itself, SLURM's, and those that are there.

Whatever is started here listens with TLS alone, with keys made for this run; local processes listen
on 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.engines.engine import Engine
from ntkscope.engines.listening import Scheduler, Worker, keys_of_this_run
from ntkscope.engines.local import local_cluster

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
    # it looks for GPUs, and no cluster starts where the driver answers it with an error
    "distributed.diagnostics.nvml": False,
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
            cluster = local_cluster(workers, engine.shares)
            stack.callback(cluster.end)
        elif parse_spec(str(engine.cluster)).name == "slurm":
            cluster = _slurm_cluster(parse_spec(engine.cluster))
            stack.callback(_close, cluster, 2)
        else:
            cluster = None
        client = _connect(engine, cluster)
        stack.callback(_close_client, client)
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


def _close(what: Any, seconds: int) -> None:
    """Close a client or a cluster; a slow goodbye must not hide why the run ended."""
    with contextlib.suppress(TimeoutError, OSError, RuntimeError):
        what.close(timeout=seconds)


def _close_client(client: Any) -> None:
    _close(client, 1)
    # a client whose close was cut off would close again when it is collected, on a loop that has ended
    client.status = "closed"


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
