"""The Cholesky factor of K + ridge, held whole or in tiles that an engine's workers make and use."""

from __future__ import annotations

import contextlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.engines.engine import Engine
from ntkscope.engines.pool import Here, pool
from ntkscope.kernels.kernel import Kernel
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof.certify import Shifted
from ntkscope.spectra.storage.source import Source
from ntkscope.spectra.tiled.tiles import Tiles

_COLUMNS = 256  # of the inverse that are solved for at a time

Parts = tuple[Tensor, Tensor]
"""Blocks of the inverse on its diagonal, (N, B, B), and the norms of its columns, (N·B,)."""


class NotPositiveDefiniteError(ArithmeticError):
    """A factorisation that broke down; the message says where, as far as that is known."""


class Factor(ABC):
    """L of K + ridge = L Lᵀ on the CPU, in float64."""

    roundings: int
    """Of the diagonal of K + ridge, in half units of its largest entry."""

    @abstractmethod
    def solve(self, B: Tensor) -> Tensor:
        """(K + ridge)⁻¹B of an (R, k) right-hand side."""

    @abstractmethod
    def forward(self, B: Tensor) -> Tensor:
        """L⁻¹B."""

    @abstractmethod
    def inverse_parts(self, block: int) -> Parts:
        """What is needed of (K + ridge)⁻¹, each column solved for by itself; B = ``block``."""


class DenseFactor(Factor):
    """In memory of this process."""

    roundings = 1

    def __init__(self, kernel: Kernel, ridge: float) -> None:
        R = len(kernel)
        memory.require(
            2.1 * 8 * R * R, f"the kernel and its factor at N = {R}",
            "use fewer samples, or an engine, which factors in tiles on disk",
        )  # fmt: skip
        matrix = kernel.dense().to("cpu", torch.float64)
        matrix.diagonal().add_(ridge)
        self._factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info):
            raise NotPositiveDefiniteError(f"leading minor {int(info)} of {R} fails")

    def solve(self, B: Tensor) -> Tensor:
        return torch.cholesky_solve(B, self._factor)

    def forward(self, B: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self._factor, B, upper=False)

    def inverse_parts(self, block: int) -> Parts:
        R = len(self._factor)
        parts = [_parts(self, R, *span, block) for span in _spans(R, block)]
        return _joined(parts)


class TiledFactor(Factor):
    """In tiles in the files of a folder; solves of many columns are shared among the workers.

    ``folder`` is one that all of them see, empty or left by a run that was killed; without it a
    temporary one, which goes with this.
    """

    roundings = 3  # the sum with the ridge, and a step down

    def __init__(
        self, kernel: Kernel, ridge: float, engine: Engine, folder: str | Path | None
    ) -> None:
        if engine.device != "cpu":
            raise ValueError(
                f"a regression's errors rest on the solves of a CPU, got device={engine.device!r}; "
                "leave it out"
            )
        self._size, self._engine = len(kernel), engine
        self._own = None
        if folder is None:
            self._own = tempfile.TemporaryDirectory(prefix="ntkscope-", ignore_cleanup_errors=True)
        self._root = _prepared(Path(self._own.name if self._own is not None else str(folder)))
        matrix = Shifted(Source(kernel), -ridge)
        with pool(engine, self._size, torch.get_num_threads()) as workers:
            tiles = Tiles(self._size, self._root, workers)
            if tiles.decompose(matrix, lambda name: Stage(name, None)) is None:
                raise NotPositiveDefiniteError(f"a pivot of {self._size} is not positive")
            self._folder = tiles.folder

    @contextlib.contextmanager
    def _tiles(self) -> Iterator[Tiles]:
        # few columns wait for memory, which local processes share with this one
        with pool(Engine(workers=0) if self._engine.local else self._engine, 1) as workers:
            yield Tiles.finished(self._size, self._folder, workers)

    def solve(self, B: Tensor) -> Tensor:
        with self._tiles() as tiles:
            return tiles.solve(B)

    def forward(self, B: Tensor) -> Tensor:
        with self._tiles() as tiles:
            return tiles.forward(B)

    def inverse_parts(self, block: int) -> Parts:
        found: dict[tuple[int, int], Parts] = {}
        spans = _spans(self._size, block)
        with pool(self._engine, len(spans)) as workers:
            for span in spans:
                workers.submit(span, _of_tiles, str(self._folder), self._size, span, block)
            for _ in spans:
                span, made = workers.next()
                found[span] = made
        return _joined([found[span] for span in spans])


def _prepared(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    if any(not f.name.startswith("factor-") for f in root.iterdir()):
        raise ValueError(f"{str(root)!r} is not empty and holds no factor; give another folder")
    return root


def _spans(size: int, block: int) -> list[tuple[int, int]]:
    step = max(1, _COLUMNS // block) * block
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _parts(factor: Factor | Tiles, size: int, start: int, stop: int, block: int) -> Parts:
    unit = torch.zeros(size, stop - start, dtype=torch.float64)
    unit[start:stop] = torch.eye(stop - start, dtype=torch.float64)
    columns = factor.solve(unit)
    own = columns[start:stop].unfold(0, block, block).unfold(1, block, block)
    return own.diagonal().movedim(-1, 0).contiguous(), torch.linalg.vector_norm(columns, dim=0)


def _of_tiles(folder: str, size: int, span: tuple[int, int], block: int) -> Parts:
    """What a worker does of :meth:`Factor.inverse_parts`."""
    return _parts(Tiles.finished(size, Path(folder), Here()), size, *span, block)


def _joined(parts: list[Parts]) -> Parts:
    blocks, norms = zip(*parts, strict=True)
    return torch.cat(blocks), torch.cat(norms)
