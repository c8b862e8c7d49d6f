"""A symmetric matrix held as the panels of its lower triangle, and its Cholesky factor in place.

They take half of the memory of a square array. The panels are tensors of their own, views into the lower
triangle of a given matrix (its upper triangle is not changed), or files.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ntkscope.spectra.progress import Stage
from ntkscope.spectra.rounding import U, up
from ntkscope.spectra.storage.blas import narrow_product, transposed_product

_WIDTH = (
    480  # columns of a panel; products are slower where the rows of one are a power of two apart
)
_WIDTH_GPU = 2048  # whose square fills a GPU
_CHUNK = 2048  # rows that are formed at once
_SOLVED = 1024  # rows that a triangular solve copies at once


def panel_width(n: int, device: torch.device | str = "cpu") -> int:
    """Columns of a panel: about an eighth of a small matrix, 480 of a large one, 2048 on a GPU."""
    most = _WIDTH if torch.device(device).type == "cpu" else _WIDTH_GPU
    return min(most, max(64, -(-n // 8)))


@dataclass(frozen=True)
class Taken:
    """Data of a factored matrix for a bound: its diagonal, and ‖A‖_F or more, up to rounding."""

    diagonal: Tensor
    frobenius: float


@runtime_checkable
class Readable(Protocol):
    """A symmetric matrix A to read block by block."""

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        """A[i:i2, j:j2]."""

    def digest(self) -> str:
        """A checksum of the matrix."""


@runtime_checkable
class Factored(Protocol):
    """A symmetric n × n matrix that is factored as LLᵀ in row blocks of ``width``, in memory or in files."""

    n: int
    width: int

    def decompose(self, matrix: Readable, stages: Callable[[str], Stage]) -> Taken | None:
        """Factor A; None where it is not positive definite."""

    def rows(self, index: int) -> Tensor:
        """Row block ``index`` of L, columns up to its diagonal, zeros above it."""

    def solve(self, B: Tensor) -> Tensor:
        """A⁻¹B for an (n, k) right-hand side."""


class Panels:
    """Panels P_j = A[j:, j:j+b] of a symmetric n×n matrix A, or of its factor L after ``factor``."""

    def __init__(self, panels: list[Tensor], n: int, width: int) -> None:
        self._panels, self.n, self.width = panels, n, width
        self.factored = False

    @classmethod
    def empty(
        cls, n: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Panels:
        """Panels in memory: (n² + n·b)/2 numbers."""
        b = panel_width(n, device)
        made = [
            torch.empty(n - j, min(b, n - j), dtype=dtype, device=device) for j in range(0, n, b)
        ]
        return cls(made, n, b)

    @classmethod
    def inside(cls, matrix: Tensor) -> Panels:
        """Views of the lower triangle of ``matrix``, with the diagonal blocks whole."""
        n = len(matrix)
        b = panel_width(n, matrix.device)
        return cls([matrix[j:, j : j + b] for j in range(0, n, b)], n, b)

    @classmethod
    def on_disk(cls, n: int, directory: Path | str | None = None) -> Panels:
        """Panels in one unnamed temporary file, which the system removes in every case."""
        b = panel_width(n)
        sizes = [(n - j) * min(b, n - j) for j in range(0, n, b)]
        # the file has no name (or loses it at once), so no interrupt can leave it behind
        with tempfile.TemporaryFile(dir=directory) as file:
            file.truncate(8 * sum(sizes))
            data = torch.from_numpy(np.memmap(file, dtype=np.float64, mode="r+"))
        made, start = [], 0
        for j, size in zip(range(0, n, b), sizes, strict=True):
            made.append(data[start : start + size].view(n - j, min(b, n - j)))
            start += size
        return cls(made, n, b)

    def single(self) -> Panels:
        """float32 panels in the memory of these, whose contents are lost."""
        made = []
        for panel in self._panels:
            if panel.is_contiguous():
                made.append(panel.view(-1).view(torch.float32)[: panel.numel()].view(panel.shape))
            else:
                made.append(panel.view(torch.float32)[:, : panel.shape[1]])
        return Panels(made, self.n, self.width)

    @staticmethod
    def nbytes(n: int, itemsize: int = 8) -> int:
        """Bytes that ``empty`` and ``on_disk`` take."""
        b = panel_width(n)
        return itemsize * sum((n - j) * min(b, n - j) for j in range(0, n, b))

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """(first column, panel), in order."""
        return iter(zip(range(0, self.n, self.width), self._panels, strict=True))

    def fill(self, block: Callable[[int, int, int, int], Tensor], stage: Stage) -> None:
        """Set every panel from ``block(i, i2, j, j2)`` → A[i:i2, j:j2], a few rows at a time."""
        self.factored = False
        done, total = 0, self.n * (self.n + self.width) / 2
        for j, panel in self:
            w = panel.shape[1]
            for i in range(0, panel.shape[0], _CHUNK):
                i2 = min(i + _CHUNK, panel.shape[0])
                panel[i:i2] = block(j + i, j + i2, j, j + w)
            done += panel.numel()
            stage(done / total)

    def diagonal(self) -> Tensor:
        return torch.cat([panel.diagonal() for panel in self._panels])

    def frobenius(self) -> float:
        """‖A‖_F or more of the matrix that was filled in, each panel counted twice."""
        return math.sqrt(sum(2 * float(torch.linalg.vector_norm(p)) ** 2 for p in self._panels))

    def rows(self, index: int) -> Tensor:
        """Row block ``index`` of L, columns up to its diagonal, zeros above it."""
        b = self.width
        parts = [
            panel[(index - before) * b : (index - before + 1) * b]
            for before, panel in enumerate(self._panels[: index + 1])
        ]
        return torch.cat([*parts[:-1], torch.tril(parts[-1])], dim=1)

    def decompose(self, matrix: Readable, stages: Callable[[str], Stage]) -> Taken | None:
        """Fill and factor; None where the matrix is not positive definite."""
        self.fill(matrix.block, stages("forming"))
        taken = Taken(self.diagonal(), self.frobenius())
        return taken if self.factor(stages("Cholesky")) else None

    def factor(self, stage: Stage, least: float = 0.0) -> bool:
        """Overwrite with the Cholesky factor L; False where a pivot is not above ``least`` ≥ 0.

        λ_min is at most every pivot, so ``least`` ends a factorisation that cannot prove the bound.

        Left-looking: each panel is computed from the finished ones. The bound of :func:`shortfall` holds for
        any order of summation.
        """
        b, done = self.width, 0.0
        # multiplications of each panel: with the finished ones, and with its own top
        shares = [p.numel() * (j + p.shape[1]) for j, p in self]
        total = sum(shares)
        for index, panel in enumerate(self._panels):
            w = panel.shape[1]
            for before, left in enumerate(self._panels[:index]):
                offset = (index - before) * b
                torch.addmm(
                    panel, left[offset:], left[offset : offset + w].T, alpha=-1.0, out=panel
                )
            top, info = torch.linalg.cholesky_ex(panel[:w])
            pivots = top.diagonal().square()
            if int(info) != 0 or not bool((pivots.isfinite() & (pivots > least)).all()):
                return False
            panel[:w] = top
            for i in range(w, panel.shape[0], _SOLVED):
                rows = panel[i : i + _SOLVED]
                rows.copy_(torch.linalg.solve_triangular(top.T, rows, upper=True, left=False))
            done += shares[index]
            stage(done / total)
        self.factored = True
        return True

    def solve(self, B: Tensor) -> Tensor:
        """L⁻ᵀ L⁻¹ B for an (n, k) right-hand side, in the precision and on the device of the panels, and back."""
        held = self._panels[0]
        return self._backward(self._forward(B.to(held.device, held.dtype, copy=True))).to(B.device)

    def _forward(self, y: Tensor) -> Tensor:
        for j, panel in self:
            w = panel.shape[1]
            top = torch.linalg.solve_triangular(panel[:w], y[j : j + w], upper=False)
            y[j : j + w] = top
            if panel.shape[0] > w:
                y[j + w :] -= narrow_product(panel[w:], top)
        return y

    def _backward(self, y: Tensor) -> Tensor:
        for j, panel in reversed(list(self)):
            w = panel.shape[1]
            right = y[j : j + w]
            if panel.shape[0] > w:
                right = right - transposed_product(panel[w:], y[j + w :])
            y[j : j + w] = torch.linalg.solve_triangular(panel[:w].T, right, upper=True)
        return y


def shortfall(diagonal: Tensor) -> float:
    """c with λ_min(A) ≥ −c for every A of this diagonal whose floating Cholesky completes.

    c = Σ_j γ_{j+4}/(1 − γ_{j+4}) a_jj plus underflow: Rump, *Verification of positive
    definiteness*, BIT 46 (2006), with Demmel's scaling; in any order of summation by Rump and
    Jeannerod, SIMAX 35 (2014). An entry of column j takes j + 1 operations. Three more are
    allowed, so a library may multiply by reciprocal pivots.
    """
    n = len(diagonal)
    d = diagonal.to(torch.float64).clamp(min=0.0)
    count = torch.arange(5, n + 5, dtype=torch.float64, device=d.device) * U
    share = count / (1 - 2 * count)
    total = float((share * d).sum()) * (1 + 2 * n * U)
    underflow = 6 * n * (n + float(d.max())) * 2.0**-1022
    return up(total + underflow)
