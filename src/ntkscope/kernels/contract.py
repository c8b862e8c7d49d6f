"""What a kind of kernel has to say: its sizes, its tiles and their error."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.devices import sides
from ntkscope.kernels.index import Index

_TILE = (512, 1024)
_PANEL = 1 << 22  # entries of the panel of rows that a product forms at a time


class KernelContract(ABC):
    """What a kind of kernel matrix K of shape (N, M) says.

    A kind writes :meth:`tile`, and :meth:`entry_error` where its tiles are not the truth. It may
    write :meth:`matmul`, :meth:`_diagonal` and :meth:`_fill` where it has a faster way than tiles.
    What they are given has been checked.
    """

    name: str = ""
    covers: str = "the tiles as they are computed"
    labels: tuple[str, ...] = ("sample",)
    n_parameters: int | None = None
    near_kinks: int = 0
    summed: int = 1
    kept: bool = False
    grain: int = 1

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, M)."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The precision of the tiles."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the tiles are made."""

    @property
    @abstractmethod
    def symmetric(self) -> bool:
        """False for a cross kernel."""

    @abstractmethod
    def tile(self, rows: Index, cols: Index) -> Float[Tensor, "r c"]:
        """The entries K[rows, cols], in memory of their own."""

    @property
    def semidefinite(self) -> bool:
        return False

    @property
    def nbytes_dense(self) -> int:
        """Bytes of ``dense()``: itemsize · N · M."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def entry_error(self) -> float:
        """A bound γ with |computed K_ij − K_ij| ≤ γ √(k(x_i, x_i) k(x_j, x_j)) for every entry.

        The diagonals are those of the two symmetric kernels where K is a cross kernel. 0 says that
        the numbers that the tiles give are the kernel.
        """
        return 0.0

    def matmul(self, V: Float[Tensor, "M k"]) -> Float[Tensor, "N k"]:
        """K V for V of the kernel's dtype and device, a panel of rows at a time."""
        N, M = self.shape
        out = torch.empty(N, V.shape[1], dtype=self.dtype, device=self.device)
        step = max(1, min(N, math.prod(sides((1, _PANEL), self.device)) // M))
        for i in range(0, N, step):
            rows = slice(i, min(i + step, N))
            torch.mm(self.tile(rows, slice(0, M)), V, out=out[rows])
        return out

    def _diagonal(self) -> Float[Tensor, N]:
        """K_ii of a symmetric kernel."""
        out = torch.empty(len(self), dtype=self.dtype, device=self.device)
        for i in range(0, len(self), 64):
            span = slice(i, min(i + 64, len(self)))
            out[span] = self.tile(span, span).diagonal()
        return out

    def _fill(self, out: Float[Tensor, "N M"]) -> None:
        """Write the matrix, a symmetric one with both halves equal in each bit."""
        N, M = self.shape
        tile = sides(_TILE, self.device)
        for i in range(0, N, tile[0]):
            rows = slice(i, min(i + tile[0], N))
            if self.symmetric:
                corner = self.tile(rows, rows)
                # a product may round (i, j) and (j, i) apart
                out[rows, rows] = torch.triu(corner) + torch.triu(corner, 1).T
            for j in range(rows.stop if self.symmetric else 0, M, tile[1]):
                cols = slice(j, min(j + tile[1], M))
                made = self.tile(rows, cols)
                out[rows, cols] = made
                if self.symmetric:
                    out[cols, rows] = made.T

    def _require_memory(self) -> None:
        """Raise NotEnoughMemoryError where ``dense()`` does not fit."""
        N, M = self.shape
        memory.require(
            self.nbytes_dense, f"forming the {N}×{M} kernel in {self.dtype}",
            "use K @ v or K.tile(rows, cols), or K.to(torch.float32) for half of it", self.device,
        )  # fmt: skip
