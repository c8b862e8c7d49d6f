"""The term of a parameter whose matrix was formed while the model was passed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ntkscope.kernels.index import Index, place
from ntkscope.kernels.module.holding.magnitudes import RoundedByMagnitudes


@dataclass(frozen=True, eq=False, repr=False)
class FormedBlock(RoundedByMagnitudes):
    """Σ_c ⟨∂f_c(x_i)/∂W, ∂f_c(x_j)/∂W⟩ as a matrix, with nothing held behind it.

    matrix: (N, N), symmetric. sizes: (N,), the :meth:`magnitudes`. length: of the sums behind an entry.
    """

    name: str = field()
    matrix: Tensor
    sizes: Tensor
    length: int

    covers = "the exact kernel of the inputs and gradients as the passes leave them"

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.matrix), len(self.matrix)

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def semidefinite(self) -> bool:
        return True

    @property
    def tensors(self) -> list[Tensor]:
        return [self.matrix, self.sizes]

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> FormedBlock:
        if dtype in (None, self.dtype) and device in (None, self.device):
            return self
        matrix, sizes = (t.to(device=device, dtype=dtype) for t in self.tensors)
        return FormedBlock(self.name, matrix, sizes, self.length)

    @property
    def T(self) -> FormedBlock:
        return self

    def side(self, which: int) -> FormedBlock:
        del which
        return self

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, len(self), self.device) for i in (rows, cols))
        return self.matrix[r][:, c].clone()

    def _fill(self, out: Tensor) -> None:
        out.copy_(self.matrix)

    def _diagonal(self) -> Tensor:
        return self.matrix.diagonal().clone()

    def matmul(self, V: Tensor) -> Tensor:
        return self.matrix @ V

    @property
    def inner(self) -> int:
        return self.length

    def magnitudes(self) -> Tensor:
        return self.sizes
