"""Where work is to run: in this process, on local processes, on a Dask cluster, on SLURM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tls:
    """Files for a TLS connection to a cluster: certificate authority, certificate, key (PEM).

    Parameters
    ----------
    ca: file of the certificate authority.
    certificate, key: files of the certificate and of its key.
    """

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True)
class Engine:
    """Where to run.

    Parameters
    ----------
    workers: local processes; ``None`` is one a core (within ``$NTKSCOPE_WORKERS``), 0 this process.
    cluster: instead of local processes, the address of a Dask scheduler, a scheduler file
        (``.json``), ``"slurm:jobs=4,cores=8,memory=16GB,queue=main,walltime=01:00:00"``, or a
        ``distributed.Client`` of your own.
    tls: files to use with an address. What is started here makes keys of its own for each run.
    device: where each worker computes: ``cpu``, ``cuda`` or ``cuda:1``. With ``cuda``, local processes
        take the GPUs in turn, one a GPU unless ``workers`` says more. Draws are made on the CPU.

    Raises ValueError for a device that is not here, unless the work runs on a cluster elsewhere.
    """

    workers: int | None = None
    cluster: Any = None
    tls: Tls | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.local and self.device != "cpu":
            from ntkscope._base.devices import as_device

            as_device(self.device)
        if not isinstance(self.tls, Tls | None):
            raise TypeError(
                f"tls takes the files of a cluster's keys, a Tls, got {self.tls!r}; local processes "
                "and SLURM always use TLS with keys made for the run: leave tls out"
            )

    @property
    def local(self) -> bool:
        """Whether the work runs on this machine's memory."""
        return self.cluster is None

    @property
    def shares(self) -> list[str]:
        """The GPUs that local workers take in turn; none where they all use one device."""
        if not self.local or self.device != "cuda":
            return []
        from ntkscope._base.devices import gpus

        return gpus()

    def n_workers(self, n_units: int) -> int:
        """Local processes for so many units of work. Raises ValueError for a negative number."""
        asked = self.workers
        if asked is None:
            asked = int(os.environ.get("NTKSCOPE_WORKERS", "0")) or len(self.shares) or cores()
        if asked < 0:
            raise ValueError(f"workers must be 0 (this process) or more, got {asked}")
        return min(asked, n_units)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
