"""The cost of λ_min by tiles, before it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ntkscope._base.memory import available
from ntkscope.engines.engine import cores
from ntkscope.spectra.tiled.place import Place
from ntkscope.spectra.tiled.simulation import measured_rates, simulate
from ntkscope.spectra.tiled.tiles import Tiles, tile_width

_DISK_BANDWIDTH = 4e8
_STORED_ENTRY = 1.4e-8  # seconds behind an entry of a stored kernel: read, checked, put in place
_MEASURED = 960  # columns of the tiles that are measured; wider ones are as fast
_START = 3.0  # seconds until workers answer
_THREAD_OVERHEAD = 2e-4
_ACCURATE = 16  # operations an entry of a product with twice the digits
_PASSES = (
    7  # over a kernel: products for its norm and Ritz values, half of it each, and the quotient
)


@dataclass(frozen=True)
class Cost:
    """Of factorisations, solves and the Rayleigh quotient together; bytes moved are read or written."""

    workers: int
    nbytes: int
    nbytes_disk: int
    seconds: float
    flops: float
    nbytes_moved: float


def tiled_cost(n: int, place: Place, certify: bool, solves: int, inner: int) -> Cost:
    """The simulated time of the schedule and of solves that read the factor; ``inner`` operations an entry.

    Each worker is assumed to be as fast as a core of this machine while its other cores work. Its files are as fast
    as this machine's memory, or as its disk if they do not fit into memory.
    """
    width, engine, disk = tile_width(n), place.workers, Tiles.nbytes(n)
    here = engine.local and engine.workers == 0
    workers = torch.get_num_threads() if here else max(1, engine.n_workers(n))
    local = min(workers, cores()) if engine.local else 1
    rates = measured_rates(str(place.disk), min(width, _MEASURED), local)
    rates = replace(rates, entry=inner / rates.flops or _STORED_ENTRY)
    if here:
        rates = replace(rates, overhead=_THREAD_OVERHEAD)
    if engine.local and disk > available():
        rates = replace(rates, read=_DISK_BANDWIDTH / workers, write=_DISK_BANDWIDTH / workers)
    one, factorings = simulate(n, workers, rates), 2 if certify else 1
    # the client solves where its memory holds the files; on a cluster the workers multiply, column by column
    held = engine.local and Tiles.held(disk)
    rate = rates.narrow if held else min(rates.read, rates.narrow)
    each = 2 * disk / rate / (1 if engine.local else workers)
    if not engine.local:
        each += 2 * (n / width) * rates.overhead
    proving = n * n * (_PASSES * rates.entry + _ACCURATE / rates.flops)
    starting = 0.0 if here else _START
    return Cost(
        workers, 4 * 8 * width**2 * (workers if engine.local else 1) + held * disk, disk,
        starting + factorings * one.seconds + solves * each + proving, factorings * one.flops,
        factorings * (one.read + one.written) + (1 if held else 2 * solves) * disk,
    )  # fmt: skip
