"""The task of a worker: a step of the factorisation of a matrix whose tiles it forms."""

from __future__ import annotations

import errno
import pickle
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ntkscope._base.version import __version__
from ntkscope.spectra.storage.blas import narrow_product
from ntkscope.spectra.storage.panels import Readable
from ntkscope.spectra.tiled.files import FINISHED, Tile, read_tile, tile_file, write_tile
from ntkscope.spectra.tiled.schedule import Step

JOB = "job.pickle"


@dataclass(frozen=True)
class Job:
    """The matrix to factor, of size n, in tiles of ``width``, by arithmetic on ``device``."""

    matrix: Readable
    n: int
    width: int
    device: str = "cpu"

    def tile(self, i: int, j: int) -> Tensor:
        b = self.width
        values = self.matrix.block(i * b, min((i + 1) * b, self.n), j * b, min((j + 1) * b, self.n))
        return values.to(self.device, torch.float64, copy=True)


def run_step(folder: str, mark: str, step: Step) -> bool:
    """Run a step and write its result; False if a pivot is not positive.

    ``mark`` names the job that ``folder`` holds. BLAS uses one thread, since every worker's thread
    has a step of its own. The number of threads belongs to the process, so the client restores it.
    """
    torch.set_num_threads(1)
    return advance(_job(folder, mark), Path(folder), step)


@lru_cache(maxsize=1)
def _job(folder: str, mark: str) -> Job:  # noqa: ARG001  # another mark is another job
    # written by the client of this run, which chooses what workers execute anyway
    try:
        content = (Path(folder) / JOB).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            errno.ENOENT, f"the worker on {socket.gethostname()} does not see the run's folder; give one "
            "on a file system that all workers share (folder=, --folder)", folder,
        ) from error  # fmt: skip
    version, _, job = content.partition(b"\n")
    if version.decode() != __version__:
        raise ImportError(
            f"the worker on {socket.gethostname()} has ntkscope {__version__}, this run is of "
            f"{version.decode()}: install one version everywhere"
        )
    made = pickle.loads(job)
    assert isinstance(made, Job)
    return made


def job_bytes(job: Job) -> bytes:
    """The job file of a folder, as :func:`run_step` reads it: a line with the version, then the job."""
    return __version__.encode() + b"\n" + pickle.dumps(job)


def advance(job: Job, folder: Path, step: Step) -> bool:
    """Subtract products from a tile of ``job`` and, in its last step, finish it.

    All arithmetic is float64 by ``addmm``, ``cholesky_ex`` and ``solve_triangular``. The bound of
    ``shortfall`` holds for any order of summation. Files hold what a CPU reads; storing a float64
    tile does not round.
    """
    result = tile_file(folder, step.i, step.j, FINISHED if step.last else step.stop)
    if result.exists():
        return True  # a worker that died had written it
    try:
        made = _made(job, folder, step)
    except FileNotFoundError:
        if result.exists():
            return True  # written meanwhile by a worker that was taken for dead
        raise
    if made is None:
        return False
    write_tile(result, made)
    if step.start > 0:
        tile_file(folder, step.i, step.j, step.start).unlink(missing_ok=True)
    return True


def _made(job: Job, folder: Path, step: Step) -> Tile | None:
    i, j = step.i, step.j
    tile = _begun(job, i, j) if step.start == 0 else read_tile(tile_file(folder, i, j, step.start))
    values = tile.values.to(job.device)
    for k in range(step.start, step.stop):
        left = _finished(job, folder, i, k)
        right = left if i == j else _finished(job, folder, j, k)
        torch.addmm(values, left, right.T, alpha=-1.0, out=values)
    if step.last and i == j:
        values, info = torch.linalg.cholesky_ex(values)
        pivots = values.diagonal().square()
        if int(info) != 0 or not bool((pivots.isfinite() & (pivots > 0)).all()):
            return None
    elif step.last:
        top = _finished(job, folder, j, j)
        values = torch.linalg.solve_triangular(top.T, values, upper=True, left=False)
    return Tile(values.cpu(), tile.beside.cpu())


def _finished(job: Job, folder: Path, i: int, j: int) -> Tensor:
    return read_tile(tile_file(folder, i, j)).values.to(job.device)


def _begun(job: Job, i: int, j: int) -> Tile:
    """Tile (i, j) of the matrix, with its norm and diagonal for later bounds."""
    values = job.tile(i, j)
    norm = torch.linalg.vector_norm(values).reshape(1)
    return Tile(values, torch.cat([norm, values.diagonal()]) if i == j else norm)


def products(
    folder: str, places: tuple[tuple[int, int], ...], x: Tensor, transposed: bool
) -> list[Tensor]:
    """L_ij x, or L_ijᵀ x, of finished tiles."""
    tiles = (read_tile(tile_file(Path(folder), i, j)).values for i, j in places)
    return [narrow_product(L.T if transposed else L, x) for L in tiles]
