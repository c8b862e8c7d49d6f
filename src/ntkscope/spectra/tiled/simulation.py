"""How long the tiled factorisation takes on so many workers: its own schedule, run on a clock of paper."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ntkscope.spectra.tiled.files import Tile, read_tile, write_tile
from ntkscope.spectra.tiled.schedule import Schedule, Step
from ntkscope.spectra.tiled.tiles import tile_width


@dataclass(frozen=True)
class Rates:
    """What a worker does in a second: flops of a product of tiles, bytes read and checked, bytes written.

    overhead: seconds between the end of a step and the next one's beginning; entry: seconds behind an
    entry of the kernel.
    """

    flops: float
    read: float
    write: float
    overhead: float = 0.004
    entry: float = 0.0


@dataclass(frozen=True)
class Simulation:
    """A factorisation that was not run.

    seconds: of the clock; busy: the share of the workers' time that is spent on steps; flops, read and
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
            seconds = more_flops / rates.flops + more_read / rates.read + 8 * b * b / rates.write
            seconds += formed * rates.entry + rates.overhead
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


@cache
def measured_rates(folder: str, width: int = 1024, threads: int = 1) -> Rates:
    """The rates of this machine, of one worker with so many threads, its tiles in ``folder``."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measured(Path(folder), width)
    finally:
        torch.set_num_threads(before)


def _measured(folder: Path, width: int) -> Rates:
    A = torch.rand(width, width, dtype=torch.float64)
    C = torch.rand(width, width, dtype=torch.float64)
    flops = 2 * width**3 / _fastest(lambda _: torch.addmm(C, A, A.T, alpha=-1e-9, out=C))
    files = [folder / f"rate-{k}.tile" for k in range(3)]
    try:
        tile = Tile(A, torch.zeros(1, dtype=torch.float64))
        write = 8 * width**2 / _fastest(lambda k: write_tile(files[k], tile))
        read = 8 * width**2 / _fastest(lambda k: read_tile(files[k]))
    finally:
        for file in files:
            file.unlink(missing_ok=True)
    return Rates(flops, read, write)


def _fastest(run: Callable[[int], object]) -> float:
    """Seconds of the fastest of three runs, each told its number."""
    best = float("inf")
    for k in range(3):
        begin = time.perf_counter()
        run(k)
        best = min(best, time.perf_counter() - begin)
    return best
