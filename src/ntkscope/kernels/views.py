"""Kernels that read another one: its transpose, its tiles in another precision or on another device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope.kernels.index import Index
from ntkscope.kernels.kernel import Kernel


class _View(Kernel):
    """Another kernel, read differently."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.name, self.covers, self.near_kinks = kernel.name, kernel.covers, kernel.near_kinks
        self.labels, self.n_parameters = kernel.labels, kernel.n_parameters

    @property
    def shape(self) -> tuple[int, int]:
        return self._kernel.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._kernel.dtype

    @property
    def device(self) -> torch.device:
        return self._kernel.device

    @property
    def symmetric(self) -> bool:
        return self._kernel.symmetric

    def entry_error(self) -> float:
        return self._kernel.entry_error()


class Transposed(_View):
    """Kᵀ of a cross kernel."""

    @property
    def shape(self) -> tuple[int, int]:
        N, M = self._kernel.shape
        return M, N

    def tile(self, rows: Index, cols: Index) -> Tensor:
        return self._kernel.tile(cols, rows).T.contiguous()

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self._kernel.terms) == 1:
            return (self,)
        return tuple(t.T for t in self._kernel.terms)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return self._kernel._of_terms(places).T

    @property
    def T(self) -> Kernel:
        return self._kernel


class Converted(_View):
    """A kernel whose tiles and products are rounded to another precision, or moved."""

    def __init__(self, kernel: Kernel, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(kernel)
        self._dtype, self._device = dtype, device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def semidefinite(self) -> bool:
        return self._kernel.semidefinite

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self._kernel.terms) == 1:
            return (self,)
        return tuple(t.to(self._dtype, self._device) for t in self._kernel.terms)

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return self._kernel._of_terms(places).to(self._dtype, self._device)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self._dtype, device=self._device)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        return self._moved(self._kernel.tile(rows, cols))

    def matmul(self, V: Tensor) -> Tensor:
        return self._moved(self._kernel @ V)

    def _diagonal(self) -> Tensor:
        return self._moved(self._kernel.diagonal())

    def entry_error(self) -> float:
        """The kernel's own, and one rounding where the new precision is the shorter."""
        own = self._kernel.entry_error()
        if self._dtype.itemsize >= self._kernel.dtype.itemsize:
            return own
        return own + torch.finfo(self._dtype).eps / 2 * (1 + own)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Kernel:
        if self._kernel.dtype.itemsize > self._dtype.itemsize:
            return super().to(dtype, device)  # its roundings stay
        return self._kernel.to(dtype or self._dtype, device or self._device)
