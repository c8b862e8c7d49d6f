"""Tiled Cholesky on two processes beside LAPACK in core, dask.array and ScaLAPACK; and λ_min by tiles.

``python -m benchmarks.tiled [N]``; ScaLAPACK where ``$SCALAPACK_PYTHON`` names a Python that has mkl,
impi-rt, mpi4py and scalapack4py.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import ntkscope as ntk
from benchmarks._common import record
from ntkscope.engines.pool import pool
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof.certify import Shifted
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled.simulation import measured_rates, simulate
from ntkscope.spectra.tiled.tasks import products
from ntkscope.spectra.tiled.tiles import Tiles, tile_width

THREADS = 2
PLANS = [(100_000, 16), (100_000, 256), (1_000_000, 16), (1_000_000, 256)]


def _timed(case: str, run: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of the clock, and of the processors of this process and of those that have ended."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(
        b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime
        for a, b in zip(before, after, strict=True)
    )
    row = {"case": case, "seconds": seconds, "processor_seconds": spent}
    print(row, flush=True)
    return row


def _by_tiles(kept: ntk.StoredKernel, workers: int) -> dict[str, Any]:
    """The factorisation alone; the processes are there before the clock starts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pool(ntk.Engine(workers=workers), len(kept), torch.get_num_threads()) as ready,
    ):
        tiles = Tiles(len(kept), Path(folder), ready)
        shifted = Shifted(as_source(kept), 0.0)
        for worker in range(workers):  # each loads what the steps need
            ready.submit(worker, products, folder, (), torch.zeros(1, 1), False)
        for _ in range(workers):
            ready.next()
        name = f"tiles, {workers} processes" if workers else "tiles, this process"
        return _timed(name, lambda: tiles.decompose(shifted, lambda s: Stage(s, None)))


def _by_dask(store: Path, n: int) -> dict[str, Any]:
    import dask.array as da
    from dask import config
    from distributed import Client, wait

    from ntkscope.engines import clusters

    # it takes square chunks of one size
    b = n // next(k for k in range(-(-n // 1024), n + 1) if n % k == 0)
    with clusters.cleared_threads(), config.set(clusters._CONFIG):
        cluster = clusters.local_cluster(2)
        with Client(cluster, set_as_default=True) as client:
            lower = da.from_zarr(str(store)).rechunk((b, b))
            whole = da.tril(lower) + da.tril(lower, -1).T

            def run() -> None:
                L = client.persist(da.linalg.cholesky(whole, lower=True))
                wait(L)

            row = _timed("dask.array.linalg.cholesky, 2 processes", run)
        cluster.end()
    return row


SCALAPACK = """
import sys, time, ctypes, numpy as np
from mpi4py import MPI
from scalapack4py import ScaLAPACK4py
lib = ctypes.CDLL(None)
sl = ScaLAPACK4py(lib)
n, b = int(sys.argv[1]), int(sys.argv[2])
ctx = sl.make_blacs_context(sl.get_default_system_context(), MPI.COMM_WORLD.size, 1)
desc = sl.make_blacs_desc(ctx, n, n, b, b)
a = np.asfortranarray(np.random.default_rng(MPI.COMM_WORLD.rank).random((desc.locrow, desc.loccol)))
a *= 1e-3
rows = [(k // b) * b * MPI.COMM_WORLD.size + MPI.COMM_WORLD.rank * b + k % b for k in range(desc.locrow)]
a[range(desc.locrow), rows] += n
MPI.COMM_WORLD.Barrier()
begin = time.perf_counter()
info = ctypes.c_int(0)
sl.pdpotrf("L", n, a, 1, 1, desc, info)
assert info.value == 0, info
MPI.COMM_WORLD.Barrier()
if MPI.COMM_WORLD.rank == 0:
    print("SECONDS", time.perf_counter() - begin)
"""


def _by_scalapack(n: int) -> dict[str, Any] | None:
    python = os.environ.get("SCALAPACK_PYTHON")
    if python is None:
        return None
    mpirun = Path(python).with_name("mpiexec")
    # MKL's libraries need one another in a circle
    names = (
        "mkl_core", "mkl_intel_lp64", "mkl_sequential", "mpi", "mkl_blacs_intelmpi_lp64",
        "mkl_scalapack_lp64",
    )  # fmt: skip
    libraries = [next((mpirun.parents[1] / "lib").glob(f"lib{x}.so.[0-9]*")) for x in names]
    preload = ["-genv", "LD_PRELOAD", ":".join(map(str, libraries))]
    found = subprocess.run(
        [str(mpirun), *preload, "-n", "2", python, "-c", SCALAPACK, str(n), "128"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = [line for line in found.stdout.splitlines() if line.startswith("SECONDS")]
    if not lines:
        print(found.stdout[-500:], found.stderr[-2000:])
        return None
    return {"case": "ScaLAPACK pdpotrf, 2 processes", "seconds": float(lines[0].split()[1])}


def _lapack(kept: ntk.StoredKernel) -> dict[str, Any]:
    K = kept.dense()
    torch.set_num_threads(THREADS)
    torch.linalg.cholesky(K[:1000, :1000])
    return _timed("LAPACK in core, 2 threads", lambda: torch.linalg.cholesky(K))


def _plans() -> list[dict[str, Any]]:
    """The schedule at large N, with the rates of one core of this machine, one factorisation."""
    rows = []
    for n, workers in PLANS:
        made = simulate(n, workers, measured_rates(tempfile.gettempdir(), tile_width(n)))
        row = {"case": f"simulated, N = {n:,}, {workers} workers", **asdict(made)}
        print(row, flush=True)
        rows.append(row)
    return rows


def main(n: int = 8000) -> None:
    """The table's rows."""
    rows: list[dict[str, Any]] = []
    model = ntk.Network([64, 256, 256, 1]).sample(seed=0)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "k.zarr"
        begin = time.perf_counter()
        kept = ntk.save_kernel(ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1)), store)
        rows.append({"case": "storing the kernel", "seconds": time.perf_counter() - begin})
        torch.set_num_threads(THREADS)
        rows += [_lapack(kept), _by_tiles(kept, 0), _by_tiles(kept, 2)]
        torch.set_num_threads(THREADS)
        rates = measured_rates(tempfile.gettempdir(), tile_width(n))
        rows.append({"case": "tiles, 2 processes, simulated", **asdict(simulate(n, 2, rates))})
        rows.append({"case": "rates of one core", **asdict(rates)})
        rows.append(_by_dask(store, n))
        found = _by_scalapack(n)
        rows += [found] if found else []
        for name, options in (
            ("dense", {"method": "dense"}), ("tiles, this process", {"method": "tiled"}),
            ("tiles, 2 processes", {"engine": ntk.Engine(workers=2)}),
        ):  # fmt: skip
            ends: list[ntk.Eigenvalue] = []
            row = _timed(
                f"certified λ_min, {name}",
                lambda o=options, e=ends: e.append(ntk.smallest_eigenvalue(kept, **o)),
            )
            rows.append({**row, "lower": ends[0].lower, "upper": ends[0].upper})
    for row in rows:
        row.setdefault("N", n)
    rows += _plans()
    record("tiled", rows)


if __name__ == "__main__":
    main(*(int(x) for x in sys.argv[1:]))
