"""A matrix of the user's as a kernel."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope.kernels.index import Index, place
from ntkscope.kernels.kernel import Kernel

_U = 2.0**-53
_SIDE = 512  # of the blocks that are compared with their mirrors


class MatrixKernel(Kernel):
    """A stored (N, M) matrix; float32 is read as the numbers it holds.

    Parameters
    ----------
    matrix: a tensor or an array, kept without a copy.
    entry_error: γ with |matrix_ij − K_ij| ≤ γ √(K_ii K_jj) for the kernel K that is meant; 0 means
        the matrix itself.
    name: of this kernel as a summand.
    covers: what K is, in words.
    semidefinite: whether K is known to have no negative eigenvalue.

    Raises
    ------
    TypeError, ValueError
        For what is no finite real matrix, or an ``entry_error`` that is negative or not finite.
    """

    def __init__(
        self,
        matrix: Any,
        *,
        entry_error: float = 0.0,
        name: str = "",
        covers: str = "",
        semidefinite: bool = False,
    ) -> None:
        if not (math.isfinite(entry_error) and entry_error >= 0):
            raise ValueError(f"entry_error must be at least 0 and finite, got {entry_error}")
        self.matrix = as_data(matrix, "K")
        self.name, self._entry_error, self._semidefinite = name, float(entry_error), semidefinite
        meant = "the matrix as given" if entry_error == 0 else "the kernel behind the matrix"
        self.covers = covers or meant

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def semidefinite(self) -> bool:
        return self._semidefinite

    @property
    def symmetric(self) -> bool:
        """Whether entries differ from their mirror by rounding at most."""
        return self.shape[0] == self.shape[1] and self._mirrored[1] <= self._mirrored[2]

    @cached_property
    def _mirrored(self) -> tuple[float, float, float]:
        """A bound on ‖K − Kᵀ‖_F of a square matrix, the largest difference, and what rounding is."""
        n, matrix = len(self), self.matrix
        largest = squares = 0.0
        for i, j in itertools.combinations_with_replacement(range(0, n, _SIDE), 2):
            block, mirror = (
                matrix[i : i + _SIDE, j : j + _SIDE],
                matrix[j : j + _SIDE, i : i + _SIDE].T,
            )
            if torch.equal(block, mirror):
                continue
            skew = block.to(torch.float64) - mirror.to(torch.float64)
            largest = max(largest, float(skew.abs().max()))
            squares += 2 * float(torch.linalg.vector_norm(skew)) ** 2
        scale = max(abs(float(end)) for end in torch.aminmax(matrix))
        bound = math.sqrt(squares) * (1 + (n * n + 4) * _U) * (1 + 2.0**-46)
        return bound, largest, 100 * torch.finfo(self.dtype).eps * scale

    @property
    def asymmetry(self) -> float:
        """An upper bound on ‖K − Kᵀ‖_F.

        Raises
        ------
        ValueError
            For a matrix that is not square, or not symmetric beyond rounding.
        """
        if self.shape[0] != self.shape[1]:
            raise ValueError(
                f"K must be square, got shape {self.shape}; for a feature matrix use "
                "smallest_singular_value(F)"
            )
        if not self.symmetric:
            raise ValueError(
                "K is not symmetric: entries differ from their mirror by up to "
                f"{self._mirrored[1]:.3g} (largest entry {float(self.matrix.abs().max()):.3g}); "
                "pass (K + K.T) / 2 if that is what you mean"
            )
        return self._mirrored[0]

    def entry_error(self) -> float:
        return self._entry_error

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        return self.matrix[r][:, c].clone()

    def matmul(self, V: Tensor) -> Tensor:
        return self.matrix @ V

    def _diagonal(self) -> Tensor:
        return self.matrix.diagonal().clone()

    def _fill(self, out: Tensor) -> None:
        out.copy_(self.matrix)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> MatrixKernel:
        """The same matrix elsewhere; in a shorter precision with one rounding more."""
        moved = self.matrix.to(dtype=dtype, device=device)
        error = self._entry_error
        if moved.dtype.itemsize < self.dtype.itemsize:
            error += torch.finfo(moved.dtype).eps / 2 * (1 + error)
        made = MatrixKernel(
            moved, entry_error=error, name=self.name, covers=self.covers,
            semidefinite=self._semidefinite,
        )  # fmt: skip
        made.n_parameters, made.labels = self.n_parameters, self.labels
        made.summed = self.summed
        return made
