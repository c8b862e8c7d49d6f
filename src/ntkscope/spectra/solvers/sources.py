"""Whatever a user holds, as one thing to read a symmetric float64 matrix from.

A source gives blocks and products of K and says how far its matrix may lie from what the interval
covers: the symmetric part of the stored matrix, or the exact kernel of the stored factors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.spectra.proof.rounding import U, up
from ntkscope.spectra.solvers.panels import Panels

_ROWS = 256
_FORM_OPERATOR = 3000  # an operator up to this size is applied to the identity


class Source(ABC):
    """A symmetric n×n float64 matrix to read.

    error: a bound on ‖K_read − K_covered‖₂, for every block that is read.
    covers: what K_covered is, in words.
    semidefinite: whether K_covered is known to have no negative eigenvalue.
    max_rank: a bound on the rank of K_covered, where one is known.
    """

    n: int
    error: float = 0.0
    covers: str = ""
    semidefinite: bool = False
    max_rank: int | None = None
    note: str = ""

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    @abstractmethod
    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        """K[i:i2, j:j2] in float64."""

    @abstractmethod
    def diagonal(self) -> Tensor: ...

    @abstractmethod
    def matmul(self, V: Tensor) -> Tensor:
        """K V in float64."""

    @abstractmethod
    def noise(self, v: Tensor) -> float:
        """To first order, how far the rounding of the stored numbers may have moved the eigenvalue
        of the unit eigenvector ``v``."""


class MatrixSource(Source):
    """A stored matrix; float32 is read as the float64 numbers it holds."""

    def __init__(self, matrix: Tensor, note: str = "") -> None:
        skew = _asymmetry(matrix)
        self.n, self._matrix = len(matrix), matrix
        self.error = skew / 2
        self.covers = "the stored matrix" if skew == 0 else "the symmetric part of the matrix"
        self.note = note

    @property
    def matrix(self) -> Tensor:
        return self._matrix

    @property
    def device(self) -> torch.device:
        return self._matrix.device

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        return self._matrix[i:i2, j:j2].to(torch.float64)

    def diagonal(self) -> Tensor:
        return self._matrix.diagonal().to(torch.float64, copy=True)

    def matmul(self, V: Tensor) -> Tensor:
        if self._matrix.dtype == V.dtype:
            return self._matrix @ V
        return by_blocks(self, V)

    def noise(self, v: Tensor) -> float:
        return _entry_noise(self, v, torch.finfo(self._matrix.dtype).eps / 2)


class HalfSource(Source):
    """A stored matrix whose lower triangle is lent to :meth:`panels`; K is read from the upper one.

    ``restore`` puts the lower triangle back from the upper.
    """

    def __init__(self, source: MatrixSource) -> None:
        if source.matrix.dtype != torch.float64 or not source.matrix.is_contiguous():
            raise ValueError(
                "in_place=True needs a contiguous float64 matrix, got "
                f"{source.matrix.dtype} with strides {source.matrix.stride()}; "
                "pass K.to(torch.float64).contiguous(), or in_place=False"
            )
        self.n, self._matrix = source.n, source.matrix
        self.error = source.error
        self.covers, self.note = source.covers, source.note
        self._panels = Panels.inside(self._matrix)
        self._width = self._panels.width
        self._blocks = [panel[: panel.shape[1]].clone() for _, panel in self._panels]

    @property
    def device(self) -> torch.device:
        return self._matrix.device

    def panels(self) -> Panels:
        return self._panels

    def restore(self) -> None:
        """Write the lower triangle again: its mirror, and the diagonal blocks as they were."""
        for (j, panel), block in zip(self._panels, self._blocks, strict=True):
            w = panel.shape[1]
            panel[:w] = block
            for i in range(j + w, self.n, 2048):
                panel[i - j : i - j + 2048] = self._matrix[j : j + w, i : i + 2048].T

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        out = torch.empty(i2 - i, j2 - j, dtype=torch.float64, device=self.device)
        b = self._width
        for start in range(i // b * b, i2, b):
            r, r2 = max(i, start), min(i2, start + b)
            rows = out[r - i : r2 - i]
            left, right = min(max(start, j), j2), min(max(start + b, j), j2)
            if left > j:
                rows[:, : left - j] = self._matrix[j:left, r:r2].T
            if right > left:
                saved = self._blocks[start // b]
                rows[:, left - j : right - j] = saved[
                    r - start : r2 - start, left - start : right - start
                ]
            if j2 > right:
                rows[:, right - j :] = self._matrix[r:r2, right:j2]
        return out

    def diagonal(self) -> Tensor:
        return torch.cat([block.diagonal() for block in self._blocks])

    def matmul(self, V: Tensor) -> Tensor:
        return by_blocks(self, V)

    def noise(self, v: Tensor) -> float:
        return _entry_noise(self, v, U)


class KernelSource(Source):
    """A Hadamard kernel that is formed block by block whenever it is read."""

    def __init__(self, kernel: HadamardKernel) -> None:
        # float32 factors are float64 numbers: the kernel of the stored factors is formed in float64
        self._kernel = kernel.to(torch.float64)
        self.n = len(kernel)
        self.error = self._kernel.forming_error()
        self.covers = kernel.covers
        self.semidefinite = all(t.scale >= 0 for t in kernel.terms)
        self.max_rank = kernel.n_parameters
        self._unit = torch.finfo(kernel.dtype).eps / 2

    @property
    def kernel(self) -> HadamardKernel:
        return self._kernel

    @property
    def device(self) -> torch.device:
        return self._kernel.device

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        return self._kernel.tile(slice(i, i2), slice(j, j2))

    def diagonal(self) -> Tensor:
        return self._kernel.diagonal()

    def matmul(self, V: Tensor) -> Tensor:
        return self._kernel @ V

    def noise(self, v: Tensor) -> float:
        # four stored numbers stand behind an entry, which is at most √(K_ii K_jj)
        return 4 * self._unit * float(v.abs() @ self.diagonal().clamp(min=0).sqrt()) ** 2


class FormedSource(MatrixSource):
    """A Hadamard kernel formed once, so that every read is of the same numbers."""

    def __init__(self, source: KernelSource) -> None:
        self._matrix, self._formed_from = source.kernel.dense(), source
        self.n, self.error = source.n, source.error
        self.covers, self.note = source.covers, source.note
        self.semidefinite, self.max_rank = source.semidefinite, source.max_rank

    def noise(self, v: Tensor) -> float:
        return self._formed_from.noise(v)


def _entry_noise(source: Source, v: Tensor, unit: float) -> float:
    """u |v|ᵀ|K||v|."""
    total, absolute = 0.0, v.abs()
    for i in range(0, source.n, _ROWS):
        i2 = min(i + _ROWS, source.n)
        rows = source.block(i, i2, 0, source.n).abs() @ absolute
        total += float(rows @ absolute[i:i2])
    return unit * total


def by_blocks(source: Source, V: Tensor) -> Tensor:
    """K V, a few rows of K at a time."""
    out = torch.empty_like(V)
    for i in range(0, source.n, _ROWS):
        i2 = min(i + _ROWS, source.n)
        torch.mm(source.block(i, i2, 0, source.n), V, out=out[i:i2])
    return out


class OperatorSource(Source):
    """An operator known by its products alone."""

    covers = "the operator, as far as its products show it"

    def __init__(self, apply: Callable[[Tensor], Tensor], n: int, note: str = "") -> None:
        self.n, self._apply, self.note = n, apply, note

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        identity = torch.zeros(self.n, j2 - j, dtype=torch.float64)
        identity[torch.arange(j, j2), torch.arange(j2 - j)] = 1.0
        return self.matmul(identity)[i:i2]

    def diagonal(self) -> Tensor:
        raise NotImplementedError("an operator shows its diagonal only by N products")

    def matmul(self, V: Tensor) -> Tensor:
        return self._apply(V)

    def noise(self, v: Tensor) -> float:
        return U * float(torch.linalg.vector_norm(self.matmul(v[:, None])))


def as_source(K: Any) -> Source:
    """``K`` as a source.

    A :class:`HadamardKernel`, a tensor or an array, a scipy ``LinearOperator``, or a pair
    (function of a vector, size). Operators of up to 3000 rows are formed by N products.

    Raises TypeError for anything else, ValueError for a matrix that is not square, not finite or
    not symmetric beyond rounding, or a cross kernel.
    """
    if isinstance(K, HadamardKernel):
        return KernelSource(K)
    operator = _as_operator(K)
    if operator is not None:
        if operator.n > _FORM_OPERATOR:
            return operator
        matrix = operator.matmul(torch.eye(operator.n, dtype=torch.float64))
        return MatrixSource(_square(matrix), f"formed by {operator.n} products of the operator")
    return MatrixSource(_square(as_data(K, "K")))


def _as_operator(K: Any) -> OperatorSource | None:
    if callable(K) and not hasattr(K, "shape"):
        raise TypeError("a callable needs its size: pass (apply, N), apply taking an (N,) tensor")
    if isinstance(K, tuple) and len(K) == 2 and callable(K[0]):
        apply, n = K
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise TypeError(f"(apply, N) needs a positive integer N, got {n!r}")
        return OperatorSource(lambda V: _columns(apply, V), int(n))
    if hasattr(K, "matvec") and hasattr(K, "shape"):
        if len(K.shape) != 2 or K.shape[0] != K.shape[1]:
            raise ValueError(f"K must be square, got an operator of shape {tuple(K.shape)}")
        if np.dtype(K.dtype or float).kind == "c":
            raise TypeError(f"K must be real, got an operator of dtype {K.dtype}")
        return OperatorSource(
            lambda V: torch.from_numpy(np.array(K.matmat(V.numpy()), dtype=np.float64)),
            int(K.shape[0]),
        )
    return None


def _columns(apply: Callable[[Tensor], Any], V: Tensor) -> Tensor:
    made = [torch.as_tensor(apply(v.contiguous()), dtype=torch.float64) for v in V.T]
    if any(column.shape != V.shape[:1] for column in made):
        raise ValueError(
            f"apply must return a vector of {V.shape[0]} numbers, got shape {tuple(made[0].shape)}"
        )
    return torch.stack(made, dim=1)


def _square(matrix: Tensor) -> Tensor:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"K must be square, got shape {tuple(matrix.shape)}; for a feature matrix use "
            "smallest_singular_value(F)"
        )
    return matrix


def _asymmetry(matrix: Tensor) -> float:
    """An upper bound on ‖K − Kᵀ‖_F, block by block.

    Raises ValueError for a difference beyond rounding.
    """
    n, eps = len(matrix), torch.finfo(matrix.dtype).eps
    largest = scale = squares = 0.0
    for i in range(0, n, 512):
        rows = matrix[i : i + 512, i:].to(torch.float64)
        skew = rows - matrix[i:, i : i + 512].to(torch.float64).T
        largest = max(largest, float(skew.abs().max()))
        scale = max(scale, float(rows.abs().max()))
        squares += 2 * float(torch.linalg.vector_norm(skew)) ** 2
    if largest > 100 * eps * scale:
        raise ValueError(
            f"K is not symmetric: entries differ from their mirror by up to {largest:.3g} "
            f"(largest entry {scale:.3g}); pass (K + K.T) / 2 if that is what you mean"
        )
    return up(math.sqrt(squares) * (1 + n * n * U)) if squares > 0 else 0.0
