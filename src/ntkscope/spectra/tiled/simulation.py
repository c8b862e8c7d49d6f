"""The time of the tiled factorisation on a number of workers: its schedule with simulated time."""

from __future__ import annotations

import heapq
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from threading import Barrier

import torch

from ntkscope.spectra.storage.blas import narrow_product
from ntkscope.spectra.tiled.files import Tile, read_tile, write_tile
from ntkscope.spectra.tiled.schedule import Schedule, Step
from ntkscope.spectra.tiled.tiles import tile_width

_REPEATS = 3


@dataclass(frozen=True)
class Rates:
    """The rates of a worker while the other workers run.

    flops: of a product of tiles; read, write: bytes of tiles, checked; factor, solve: the shares of
    ``flops`` that the Cholesky factorisation of a tile and a triangular solve with it reach; narrow:
    bytes of a tile in memory, multiplied by few columns; overhead: seconds between the end of a step
    and the next one's beginning; entry: seconds behind an entry of the kernel.
    """

    flops: float
    read: float
    write: float
    factor: float = 1.0
    solve: float = 1.0
    narrow: float = 4e9
    overhead: float = 0.004
    entry: float = 0.0


@dataclass(frozen=True)
class Simulation:
    """A factorisation that was not run.

    seconds: of the clock; busy: the share of the workers' time spent on steps; flops, read and
    written (bytes), steps: of all workers together.
    """

    n: int
    workers: int
    width: int
    seconds: float
    busy: float
    steps: int
    flops: float
    read: float
    written: float


def simulate(n: int, workers: int, rates: Rates, width: int | None = None) -> Simulation:
    """The schedule of one factorisation of an N × N kernel on ``workers`` workers."""
    b = width or tile_width(n)
    schedule = Schedule(-(-n // b))
    clock, steps, worked = 0.0, 0, 0.0
    flops = read = written = 0.0
    running: list[tuple[float, int, Step]] = []
    while not schedule.ended:
        while schedule.running < workers:
            step = schedule.next(ahead=workers > 1)
            if step is None:
                break
            more_flops, more_read, formed = _work(step, b)
            seconds = _flop_seconds(step, b, rates) + more_read / rates.read
            seconds += 8 * b * b / rates.write + formed * rates.entry + rates.overhead
            heapq.heappush(running, (clock + seconds, steps, step))
            steps, worked = steps + 1, worked + seconds
            flops, read, written = flops + more_flops, read + more_read, written + 8 * b * b
        clock, _, ended = heapq.heappop(running)
        schedule.done(ended)
    busy = worked / (clock * workers)
    return Simulation(n, workers, b, clock, busy, steps, flops, read, written)


def _work(step: Step, b: int) -> tuple[float, float, int]:
    """(flops, bytes read, entries formed) of a step."""
    products = step.stop - step.start
    diagonal = step.i == step.j
    tiles = products * (1 if diagonal else 2) + (step.start > 0)
    flops = 2.0 * products * b**3
    if step.last:
        flops += b**3 / 3 if diagonal else float(b) ** 3
        tiles += not diagonal
    return flops, 8.0 * tiles * b * b, b * b if step.start == 0 else 0


def _flop_seconds(step: Step, b: int, rates: Rates) -> float:
    seconds = 2.0 * (step.stop - step.start) * b**3
    if step.last:
        seconds += b**3 / 3 / rates.factor if step.i == step.j else b**3 / rates.solve
    return seconds / rates.flops


@cache
def measured_rates(folder: str, width: int = 960, at_once: int = 1) -> Rates:
    """The rates of one of ``at_once`` workers of this machine, its tiles in ``folder``.

    All measure at the same time because they share the memory; a single worker alone would be faster.
    """
    with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        ready = Barrier(at_once)
        runs = [executor.submit(_seconds, Path(folder), k, width, ready) for k in range(at_once)]
        seconds = [median(kind) for kind in zip(*(run.result() for run in runs), strict=True)]
    product, factor, solve, write, read, narrow = seconds
    flops, nbytes = 2 * width**3 / product, 8 * width**2
    return Rates(
        flops, nbytes / read, nbytes / write, width**3 / 3 / factor / flops,
        width**3 / solve / flops, nbytes / narrow,
    )  # fmt: skip


def _seconds(folder: Path, worker: int, width: int, ready: Barrier) -> list[float]:
    """Seconds of a product, a factorisation, a solve, a write, a read and a narrow product of tiles."""
    generator = torch.Generator().manual_seed(worker)
    A = torch.rand(width, width, dtype=torch.float64, generator=generator)
    S = A @ A.T + width * torch.eye(width, dtype=torch.float64)
    L, C, x = torch.linalg.cholesky(S), S.clone(), A[:, :4].contiguous()
    mine = f"rate-{uuid.uuid4().hex}"
    files = [folder / f"{mine}-{k}.tile" for k in range(_REPEATS)]
    tile = Tile(L, torch.zeros(1, dtype=torch.float64))
    kinds: list[Callable[[int], object]] = [
        lambda _: torch.addmm(C, A, L.T, alpha=-1e-9, out=C),
        lambda _: torch.linalg.cholesky_ex(S),
        lambda _: torch.linalg.solve_triangular(L.T, A, upper=True, left=False),
        lambda k: write_tile(files[k], tile),
        lambda k: read_tile(files[k]),
        lambda _: narrow_product(L, x),
    ]
    try:
        return [_usual(run, ready) for run in kinds]
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _usual(run: Callable[[int], object], ready: Barrier) -> float:
    """The median seconds of a few numbered runs; all workers begin together."""
    ready.wait()
    seconds = []
    for k in range(_REPEATS):
        begin = time.perf_counter()
        run(k)
        seconds.append(time.perf_counter() - begin)
    return median(seconds)
