"""A symmetric kernel as float64 numbers, with a bound on their distance to the covered matrix."""

from __future__ import annotations

import copy
import hashlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.given import OperatorKernel, as_kernel
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.spectra.rounding import U, block_side
from ntkscope.spectra.storage.blas import narrow_product
from ntkscope.spectra.storage.panels import Panels

_ROWS = 256
_PROBES, _PROBE = 4, 8  # blocks that tell one matrix from another, and their side
_FORM_OPERATOR = 3000  # an operator up to this size is applied to the identity


class Source:
    """A symmetric n×n float64 matrix to read, made of any kernel.

    Attributes
    ----------
    kernel: the kernel, giving float64: float32 factors and matrices are the float64 numbers that
        they hold.
    n: its size.
    error: a bound on ‖K_read − K_covered‖₂, for every block that is read.
    covers: what K_covered is, in words.
    semidefinite: whether K_covered is known to have no negative eigenvalue.
    max_rank: a bound on the rank of K_covered, where one is known.
    operator: whether K is known by products only.
    grain: rows that are read at once, however few are asked for.
    repeatable: whether ``error`` holds for every read. A kernel without an error bound stands for the
        numbers of one read.

    Raises
    ------
    ValueError
        For a kernel that is not symmetric.
    """

    def __init__(self, kernel: Kernel, note: str = "") -> None:
        self.note, self.n = note, len(kernel)
        self.covers, self.max_rank = kernel.covers, kernel.n_parameters
        self.operator = isinstance(kernel, OperatorKernel)
        self._unit = torch.finfo(kernel.dtype).eps / 2
        self._matrix: Tensor | None = None
        self._panel: tuple[int, Tensor] | None = None
        self.grain = kernel.grain
        self.kernel = kernel
        if isinstance(kernel, MatrixKernel):
            skew = kernel.asymmetry
            self.error = skew / 2 + (kernel.forming_error() if kernel.entry_error() else 0.0)
            if skew > 0 and kernel.entry_error() == 0:
                self.covers = "the symmetric part of the matrix"
            self.repeatable, self._matrix = True, kernel.matrix
        else:
            self.kernel = kernel.to(torch.float64)
            self.error = self.kernel.forming_error()
            self.repeatable = self.error > 0 or kernel.kept
        self.semidefinite = kernel.semidefinite

    @property
    def matrix(self) -> Tensor | None:
        """All of K, where it is held."""
        return self._matrix

    @property
    def device(self) -> torch.device:
        return self.kernel.device

    @property
    def side(self) -> int:
        """Rows and columns of the blocks of a pass that reads each entry of a triangle once."""
        return block_side(self.grain, self.device)

    def formed(self) -> Source:
        """The same with the matrix formed once, so that every read gives the same numbers."""
        made = copy.copy(self)
        if self._matrix is None:
            made._matrix, made.repeatable = self.kernel.dense(), True
        return made

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        """K[i:i2, j:j2] in float64."""
        if self._matrix is None:
            return self.kernel.tile(slice(i, i2), slice(j, j2))
        return self._matrix[i:i2, j:j2].to(torch.float64)

    def rows(self, i: int, i2: int) -> Tensor:
        """K[i:i2, :] in float64, for a pass from the top down that reads each entry once."""
        first = i // self.grain * self.grain
        stop = min(first + self.grain, self.n)
        if self._matrix is not None or self.grain == 1:
            return self.block(i, i2, 0, self.n)
        if i2 > stop:
            return torch.cat([self.rows(i, stop), self.rows(stop, i2)])
        if self._panel is None or self._panel[0] != first:
            self._panel = None  # there need not be room for two
            self._panel = first, self.block(first, stop, 0, self.n)
        panel = self._panel[1][i - first : i2 - first]
        if i2 == stop:
            self._panel = None
        return panel

    def columns(self, numbers: Tensor) -> Tensor:
        """K[:, numbers] in float64."""
        if self._matrix is None:
            return self.kernel.tile(slice(0, self.n), numbers)
        return self._matrix[:, numbers].to(torch.float64)

    @cached_property
    def digest(self) -> str:
        """A checksum of the matrix: its size, its diagonal, and a few blocks off the diagonal."""
        seen = hashlib.sha256(f"{self.n} {self.covers}".encode())
        seen.update(self.diagonal().cpu().numpy().tobytes())
        side = min(_PROBE, self.n)
        places = torch.randint(
            self.n - side + 1, (_PROBES, 2), generator=torch.Generator().manual_seed(0)
        )
        for i, j in places.tolist():
            block = self.block(i, i + side, j, j + side)
            seen.update(block.cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_panel": None}

    def diagonal(self) -> Tensor:
        if self._matrix is None:
            return self.kernel.diagonal()
        return self._matrix.diagonal().to(torch.float64, copy=True)

    def matmul(self, V: Tensor) -> Tensor:
        """K V in float64."""
        if self._matrix is None:
            return self.kernel @ V
        return (
            narrow_product(self._matrix, V) if self._matrix.dtype == V.dtype else self._by_blocks(V)
        )

    def _by_blocks(self, V: Tensor) -> Tensor:
        """K V, a few rows of K at a time."""
        out = torch.empty_like(V)
        for i in range(0, self.n, _ROWS):
            i2 = min(i + _ROWS, self.n)
            torch.mm(self.block(i, i2, 0, self.n), V, out=out[i:i2])
        return out

    def noise(self, v: Tensor) -> float:
        """To first order, a bound on the change of the eigenvalue of the unit eigenvector ``v`` by the rounding
        of the stored numbers."""
        if self.operator:
            return U * float(torch.linalg.vector_norm(self.matmul(v[:, None])))
        if isinstance(self.kernel, MatrixKernel):
            return self._unit * self._absolute_form(v.abs())
        # four stored numbers stand behind an entry, which is at most √(K_ii K_jj)
        return 4 * self._unit * float(v.abs() @ self.diagonal().clamp(min=0).sqrt()) ** 2

    def _absolute_form(self, w: Tensor) -> float:
        """wᵀ|K|w."""
        total = 0.0
        for i in range(0, self.n, _ROWS):
            i2 = min(i + _ROWS, self.n)
            total += float((self.block(i, i2, 0, self.n).abs() @ w) @ w[i:i2])
        return total


class LentSource(Source):
    """A stored matrix whose lower triangle is lent to :meth:`panels`; K is read from the upper one.

    ``restore`` puts the lower triangle back from the upper.

    Raises
    ------
    ValueError
        For what is no contiguous float64 matrix.
    """

    def __init__(self, source: Source) -> None:
        matrix = source.matrix
        if matrix is None or matrix.dtype != torch.float64 or not matrix.is_contiguous():
            held = "no matrix" if matrix is None else f"{matrix.dtype}, strides {matrix.stride()}"
            raise ValueError(
                f"in_place=True needs a contiguous float64 matrix, got {held}; "
                "pass K.to(torch.float64).contiguous(), or in_place=False"
            )
        self.__dict__.update(source.__dict__)
        self._lent = matrix
        self._panels = Panels.inside(matrix)
        self._width = self._panels.width
        self._blocks = [panel[: panel.shape[1]].clone() for _, panel in self._panels]

    def panels(self) -> Panels:
        return self._panels

    def restore(self) -> None:
        """Write the lower triangle again: its mirror, and the diagonal blocks as they were."""
        for (j, panel), block in zip(self._panels, self._blocks, strict=True):
            w = panel.shape[1]
            panel[:w] = block
            for i in range(j + w, self.n, 2048):
                panel[i - j : i - j + 2048] = self._lent[j : j + w, i : i + 2048].T

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        out = torch.empty(i2 - i, j2 - j, dtype=torch.float64, device=self.device)
        b = self._width
        for start in range(i // b * b, i2, b):
            r, r2 = max(i, start), min(i2, start + b)
            rows = out[r - i : r2 - i]
            left, right = min(max(start, j), j2), min(max(start + b, j), j2)
            if left > j:
                rows[:, : left - j] = self._lent[j:left, r:r2].T
            if right > left:
                saved = self._blocks[start // b]
                rows[:, left - j : right - j] = saved[
                    r - start : r2 - start, left - start : right - start
                ]
            if j2 > right:
                rows[:, right - j :] = self._lent[r:r2, right:j2]
        return out

    def diagonal(self) -> Tensor:
        return torch.cat([block.diagonal() for block in self._blocks])

    def matmul(self, V: Tensor) -> Tensor:
        return self._by_blocks(V)


def as_source(K: Any) -> Source:
    """What :func:`as_kernel` takes, as a source; an operator of up to 3000 rows is formed.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_kernel`, and ValueError for a cross kernel or a matrix that is not square or not
        symmetric beyond rounding.
    """
    kernel = as_kernel(K)
    if isinstance(kernel, OperatorKernel) and len(kernel) <= _FORM_OPERATOR:
        note = f"formed by {len(kernel)} products of the operator"
        return Source(MatrixKernel(kernel.dense(), covers=kernel.covers), note)
    if isinstance(kernel, OperatorKernel):
        _require_symmetry(kernel)
    return Source(kernel)


def _require_symmetry(kernel: OperatorKernel) -> None:
    """Raise ValueError if uᵀKv and vᵀKu differ beyond rounding for random u, v."""
    generator = torch.Generator().manual_seed(0)
    V = torch.randn(len(kernel), 4, dtype=torch.float64, generator=generator)
    made = kernel.matmul(V)
    crossed = V.T @ made
    size = torch.linalg.vector_norm(V, dim=0)[:, None] * torch.linalg.vector_norm(made, dim=0)
    worst = float((crossed - crossed.T).abs().max())
    # an operator may compute in float32
    if worst > 8 * torch.finfo(torch.float32).eps * float(size.max()):
        raise ValueError(
            f"the operator is not symmetric: uᵀKv and vᵀKu differ by {worst:.3g}; a kernel matrix is, "
            "so check the function that applies it"
        )
