"""What takes an hour alone on a machine: large kernels, with a worker that dies, in bounded memory.

``python -m benchmarks.acceptance schedule|workers|streamed|factors [N]``, each into a file of its own
beside the others' results. Expected on two cores that do 60·10⁹ float64 operations a second together:

schedule   plan beside clock, N = 6000, 8000 and 12,000, this process and two: 3 minutes
workers    N = 20,000: stored, λ_min on two local processes with one killed half-way, then dense and from disk: 15 minutes
streamed   N = 100,000: 5 minutes
factors    N = 50,000 from factors 64-512-512-1: 50 minutes
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

import ntkscope as ntk
from benchmarks._common import record
from benchmarks.tiled import _by_tiles
from ntkscope.spectra.tiled.simulation import Rates, measured_rates, simulate
from ntkscope.spectra.tiled.tiles import tile_width

GB = 1e9
WIDTHS = "64,256,256,1"


class Memory:
    """The most memory that a process and those below it hold, looked at twice a second; what they share
    counts once."""

    def __init__(self, root: int) -> None:
        self.peak, self._root, self._ended = 0, root, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self.peak = max(self.peak, sum(_held(p) for p in family(self._root)))


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def family(root: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        first = psutil.Process(root)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def timed(case: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A row: seconds of the clock and of the processors, and the peak of memory, beside what ``run`` says."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [resource.getrusage(w) for w in who]
    begin = time.perf_counter()
    with Memory(os.getpid()) as memory:
        found = run()
    seconds = time.perf_counter() - begin
    after = [resource.getrusage(w) for w in who]
    spent = sum(
        b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime
        for a, b in zip(before, after, strict=True)
    )
    row = {"case": case, "seconds": seconds, "processor_seconds": spent,
           "peak_gb": memory.peak / GB, **found}  # fmt: skip
    print(row, flush=True)
    return row


def _interval(found: ntk.Eigenvalue) -> dict[str, Any]:
    return {"value": found.value, "lower": found.lower, "upper": found.upper,
            "status": found.status.name, "certificate": found.certificate, "method": found.method}  # fmt: skip


# -- the schedule ---------------------------------------------------------------------------------


def _rates(at_once: int, **more: float) -> Rates:
    measured_rates.cache_clear()
    return replace(measured_rates(tempfile.gettempdir(), 960, at_once), entry=1.4e-8, **more)


def schedule(*sizes: int) -> None:
    """The simulated schedule beside factorisations that are run; the goal: within 25 %."""
    rows = []
    threads = torch.get_num_threads()
    for n in sizes or (6000, 8000, 12_000):
        with tempfile.TemporaryDirectory() as folder:
            model = ntk.Network([int(w) for w in WIDTHS.split(",")]).sample(seed=0)
            K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1))
            kept = ntk.save_kernel(K, Path(folder) / "k.zarr")
            whole = kept.dense()
            begin = time.perf_counter()
            torch.linalg.cholesky(whole)
            lapack = time.perf_counter() - begin
            del whole
            for workers in (0, 2):
                more = {} if workers else {"overhead": 2e-4}
                said = simulate(n, workers or threads, _rates(workers or threads, **more)).seconds
                row = _by_tiles(kept, workers)
                torch.set_num_threads(threads)
                rows.append({**row, "N": n, "simulated_seconds": said, "lapack_seconds": lapack,
                             "of_simulated": row["seconds"] / said,
                             "of_lapack": row["seconds"] / lapack})  # fmt: skip
                print(rows[-1], flush=True)
    record("acceptance-schedule", rows)


# -- two processes, one of them killed ------------------------------------------------------------


def _command(*arguments: str) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-m", "ntkscope", *arguments], capture_output=True, text=True, check=False
    )
    return {"exit_code": found.returncode, "output": found.stdout[-400:], "errors": found.stderr[-400:]}  # fmt: skip


def _with_a_death(store: Path, folder: Path) -> dict[str, Any]:
    """``ntkscope eig`` on two local processes; the busiest dies when half of the tiles are there."""
    run = subprocess.Popen(
        [sys.executable, "-m", "ntkscope", "eig", str(store), "--workers", "2", "--folder",
         str(folder), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    killed = 0
    n = len(ntk.load_kernel(store))
    tiles = -(-n // tile_width(n))
    while run.poll() is None and not killed:
        time.sleep(0.05)
        if len(list(folder.glob("factor-*/*-L.tile"))) >= tiles * (tiles + 1) / 4:
            workers = [p for p in family(run.pid) if "spawn_main" in " ".join(p.cmdline())]
            busiest = max(workers, key=lambda p: p.cpu_times().user)
            os.kill(busiest.pid, signal.SIGKILL)
            killed = busiest.pid
    out, _ = run.communicate()
    (found,) = json.loads(out)["smallest"]
    kept = ("value", "lower", "upper", "status", "certificate", "method")
    return {"exit_code": run.returncode, "killed": killed, **{k: found[k] for k in kept}}


def workers(n: int = 20_000) -> None:
    """A kernel stored by one command, its λ_min by another on two processes of which one is killed, and
    the same from dense and from disk; goals: one interval, less than 8 GB on the processes."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        store, folder = Path(place) / "k.zarr", Path(place) / "factor"
        data = ["--data", f"gaussian:N={n},d=64,seed=1", "--widths", WIDTHS]
        rows.append(
            timed("ntkscope kernel", lambda: _command("kernel", *data, "--out", str(store)))
        )
        rows.append(timed("ntkscope eig, two processes, one killed", lambda: _with_a_death(store, folder)))  # fmt: skip
        kept = ntk.load_kernel(store)
        for method in ("dense", "disk"):
            rows.append(timed(method, lambda m=method: _interval(ntk.smallest_eigenvalue(kept, method=m))))  # type: ignore[misc]  # fmt: skip
    ends = [row for row in rows if "lower" in row]
    wide = max(row["upper"] - row["lower"] for row in ends)
    apart = max(abs(a[end] - b[end]) for a in ends for b in ends for end in ("lower", "upper"))
    rows.append({"case": "the ends of the intervals", "apart": apart, "widest": wide,
                 "overlap": max(r["lower"] for r in ends) <= min(r["upper"] for r in ends)})  # fmt: skip
    print(rows[-1])
    for row in rows:
        row["N"] = n
    record("acceptance-workers", rows)


# -- any N, and from factors ----------------------------------------------------------------------


def streamed(n: int = 100_000) -> None:
    """``streamed_bound``: a proved floor and a ceiling; goals: ten minutes, 1 GB."""
    net = ntk.Network([64, float("inf"), float("inf"), 1], "relu", parameterization="ntk")
    X = ntk.data.sphere(n, 64, seed=0)

    def run() -> dict[str, Any]:
        found = ntk.streamed_bound(net, X)
        return {"lower": found.lower, "upper": found.upper, "proved": found.proved}

    record("acceptance-streamed", [{**timed("streamed bound", run), "N": n}])


def factors(n: int = 50_000) -> None:
    """From factors 64-512-512-1, certified; the goal: 40 minutes."""
    model = ntk.Network([64, 512, 512, 1]).sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1))
    made = ntk.plan(K, method="packed")
    print(made)
    row = timed("from factors, packed",
                lambda: _interval(ntk.smallest_eigenvalue(K, method="packed")))  # fmt: skip
    record("acceptance-factors", [{**row, "N": n, "expected_seconds": made.seconds}])


if __name__ == "__main__":
    which = {"schedule": schedule, "workers": workers, "streamed": streamed, "factors": factors}
    if len(sys.argv) < 2 or sys.argv[1] not in which:
        sys.exit(f"give one of {', '.join(which)}, and N")
    which[sys.argv[1]](*(int(x) for x in sys.argv[2:]))
