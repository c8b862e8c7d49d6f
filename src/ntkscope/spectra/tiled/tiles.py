"""A Cholesky factor in tiles, computed by any workers, and solves with it."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.memory import available, human
from ntkscope.engines.pool import Pool
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.storage.blas import narrow_product
from ntkscope.spectra.storage.panels import Readable, Taken
from ntkscope.spectra.tiled.files import (
    FINISHED,
    FORMAT,
    found_in,
    read_beside,
    read_tile,
    tile_file,
)
from ntkscope.spectra.tiled.schedule import Schedule, Step
from ntkscope.spectra.tiled.tasks import JOB, Job, advance, job_bytes, products, run_step

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HELD = 0.4  # of the free memory, for the tiles that solves read
_AHEAD = 2  # steps in flight for each worker: the second hides the way there and back


def tile_width(n: int, grain: int = 1) -> int:
    """Rows and columns of a tile: 60 to 960 so that there are eight in a row, then 1920 and 3840.

    Products are slower where rows are a power of two apart. A multiple of ``grain``, the rows that
    are read at once, where one is near.
    """
    if n >= 32768:
        width = 1920 if n < 262144 else 3840
    else:
        width = 60
        while width < 960 and 8 * width < n:
            width *= 2
    return max(1, round(width / grain)) * grain if 2 * width > grain else width


class Tiles:
    """L of A = LLᵀ in the files of ``folder``, which every worker of ``pool`` can read.

    A folder with tiles of the same matrix is resumed.
    """

    def __init__(
        self, n: int, folder: Path, pool: Pool, width: int | None = None, device: str = "cpu"
    ) -> None:
        self.n, self.width = n, width or tile_width(n)
        self.count = -(-n // self.width)
        self._root, self._pool, self._device = folder, pool, device
        self._folder = folder
        self._held: dict[tuple[int, int], Tensor] = {}
        self._hold: bool | None = None  # decided when the factor is there

    @staticmethod
    def nbytes(n: int, width: int | None = None) -> int:
        """Bytes of the files of one factor."""
        b = width or tile_width(n)
        sides = [min(b, n - i) for i in range(0, n, b)]
        return 8 * sum(s * sum(sides[: k + 1]) for k, s in enumerate(sides))

    @staticmethod
    def held(nbytes: int) -> bool:
        """Whether solves keep a factor of this many bytes in memory, so that they read each tile once."""
        return nbytes <= _HELD * available()

    # -- factoring -------------------------------------------------------------------------------

    def decompose(self, matrix: Readable, stages: Callable[[str], Stage]) -> Taken | None:
        """Factor a matrix; None if it is not positive definite.

        Raises OSError if a tile cannot be read or written; finished tiles stay.
        """
        job = Job(matrix, self.n, self.width, self._device)
        self._held, self._hold = {}, None
        self._prepare(job)
        schedule = self._gone_on()
        threads = torch.get_num_threads()
        try:
            whole = self._work(job, schedule, stages("Cholesky"))
        except OSError as error:
            raise _explained(error, self._folder) from error
        finally:
            self._pool.drop()
            torch.set_num_threads(threads)
        return self._taken() if whole else None

    def _prepare(self, job: Job) -> None:
        """The folder of this matrix in the root; factors of other matrices are removed."""
        # what a GPU made is no step of a factor whose error follows from the algorithm of a CPU
        kind = self._device.partition(":")[0]
        self._mark = f"{job.matrix.digest()[:24]}-{self.width}-{FORMAT}-{kind}"
        self._folder = self._root / f"factor-{self._mark}"
        for other in self._root.glob("factor-*"):
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)  # a task that was dropped may still write
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        held = sum(f.stat().st_size for f in self._folder.glob("*.tile"))
        if (need := self.nbytes(self.n, self.width) - held) > free:
            raise OSError(
                errno.ENOSPC, f"the factor's tiles take {human(need)} more, and {human(free)} are "
                "free; give a folder on another disk", str(self._root),
            )  # fmt: skip
        if self._pool.remote:
            self._hand_over(job)

    def _hand_over(self, job: Job) -> None:
        """Write the matrix, or the job that forms its tiles, for the workers."""
        try:
            content = job_bytes(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"this kernel cannot be sent to workers ({error}); save it with ntk.save_kernel and "
                "pass ntk.load_kernel of that folder"
            ) from error
        memory.require(
            len(content) * self._pool.copies, f"the kernel in each of {self._pool.copies} workers",
            "save it with ntk.save_kernel and pass ntk.load_kernel of that folder",
        )  # fmt: skip
        (self._folder / JOB).write_bytes(content)

    def _gone_on(self) -> Schedule:
        """The schedule from the existing tiles whose own sources exist.

        A tile that is computed again may differ in its last bits, so tiles computed from it are removed too.
        """
        there = found_in(self._folder)
        ready = [0] * self.count
        for j in range(self.count):
            for i in range(j, self.count):
                solved = i == j or ready[j] == j + 1
                if ready[i] == j and solved and FINISHED in there.get((i, j), ()):
                    ready[i] = j + 1
        put_aside = {}
        for (i, j), states in there.items():
            kept = FINISHED if j < ready[i] else max(
                (s for s in states if 0 < s <= min(ready[i], ready[j])), default=0
            )  # fmt: skip
            if kept > 0:
                put_aside[i, j] = kept
            for state in states - {kept}:
                tile_file(self._folder, i, j, state).unlink()
        return Schedule(self.count, ready, put_aside)

    def _work(self, job: Job, schedule: Schedule, stage: Stage) -> bool:
        stage(schedule.share)
        while not schedule.ended:
            slots = self._pool.slots
            while schedule.running < slots * (_AHEAD if self._pool.remote else 1):
                step = schedule.next(ahead=slots > 1 and schedule.running < slots)
                if step is None:
                    break
                if self._pool.remote:
                    self._pool.submit(step, run_step, str(self._folder), self._mark, step)
                else:
                    self._pool.submit(step, advance, job, self._folder, step)
            done, positive = self._pool.next()
            if not positive:
                return False
            assert isinstance(done, Step)
            schedule.done(done)
            stage(schedule.share)
        return True

    def _taken(self) -> Taken:
        """The diagonal and the norm of the factored matrix, as recorded by its steps."""
        squares, diagonal = 0.0, []
        for i in range(self.count):
            for j in range(i + 1):
                beside = read_beside(tile_file(self._folder, i, j))
                squares += (1 if i == j else 2) * float(beside[0]) ** 2
                if i == j:
                    diagonal.append(beside[1:])
        # n² terms and the roots of them: their rounding, raised
        return Taken(torch.cat(diagonal), squares**0.5 * (1 + (self.width**2 + 8) * 2.0**-52))

    # -- reading the factor ----------------------------------------------------------------------

    def _tile(self, i: int, j: int) -> Tensor:
        if self._hold is None:
            self._hold = self._near and self.held(self.nbytes(self.n, self.width))
        if (i, j) in self._held:
            return self._held[i, j]
        made = read_tile(tile_file(self._folder, i, j)).values
        if self._hold:  # a copy: what maps a file that is cut short ends the process
            made = self._held[i, j] = made.clone()
        return made

    @property
    def _near(self) -> bool:
        """Whether this process solves: local workers share its file cache."""
        return not self._pool.remote or self._pool.copies > 0

    def rows(self, index: int) -> Tensor:
        """Row block ``index`` of L, columns up to its diagonal, zeros above it."""
        parts = [self._tile(index, j) for j in range(index + 1)]
        made = torch.cat([*parts[:-1], torch.tril(parts[-1])], dim=1)
        return made.to(self._device) if self._near else made

    @classmethod
    def finished(cls, n: int, folder: Path, pool: Pool) -> Tiles:
        """The factor that ``decompose`` left in a ``folder`` of its own, to solve with."""
        made = cls(n, folder.parent, pool)
        made._folder = folder
        return made

    @property
    def folder(self) -> Path:
        """Where the tiles of the last factor lie."""
        return self._folder

    def solve(self, B: Tensor) -> Tensor:
        """L⁻ᵀL⁻¹B for an (n, k) right-hand side; on a cluster, the products by its workers."""
        y = self.forward(B)
        parts = y.split(self.width)
        for i in reversed(range(self.count)):
            part = parts[i]
            part.copy_(torch.linalg.solve_triangular(self._tile(i, i).T, part, upper=True))
            self._spread([(i, j) for j in range(i)], parts, i, True)
        return y

    def forward(self, B: Tensor) -> Tensor:
        """L⁻¹B, as :meth:`solve`."""
        y = B.to(torch.float64).clone()
        parts = y.split(self.width)
        for j, part in enumerate(parts):
            part.copy_(torch.linalg.solve_triangular(self._tile(j, j), part, upper=False))
            self._spread([(i, j) for i in range(j + 1, self.count)], parts, j, False)
        return y

    def _spread(
        self, places: list[tuple[int, int]], parts: tuple[Tensor, ...], known: int, transposed: bool
    ) -> None:
        """Subtract the products of these tiles with part ``known`` from the parts that depend on it."""
        x = parts[known].contiguous()
        if self._near:
            for i, j in places:
                L = self._tile(i, j)
                parts[j if transposed else i].sub_(narrow_product(L.T if transposed else L, x))
            return
        size = max(1, -(-len(places) // self._pool.slots))
        chunks = [tuple(places[k : k + size]) for k in range(0, len(places), size)]
        for chunk in chunks:
            self._pool.submit(chunk, products, str(self._folder), chunk, x, transposed)
        for _ in chunks:
            _take_off(*self._pool.next(), parts, transposed)


def _take_off(
    places: Sequence[tuple[int, int]],
    made: list[Tensor],
    parts: tuple[Tensor, ...],
    transposed: bool,
) -> None:
    for (i, j), product in zip(places, made, strict=True):
        parts[j if transposed else i].sub_(product)


def _explained(error: OSError, folder: Path) -> OSError:
    if error.errno not in _FULL:
        return error
    free = human(shutil.disk_usage(folder).free) if os.path.isdir(folder) else "nothing"
    return OSError(
        error.errno,
        f"{os.strerror(error.errno or 0)}: a tile could not be written ({free} free); what was "
        "written is kept where a folder was given: make room and run the same again",
        str(folder),
    )
