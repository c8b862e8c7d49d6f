"""The rounding of a term whose entries are sums over positions, which may cancel."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel


class RoundedByMagnitudes(Kernel):
    """|fl(K_ij) − K_ij| ≤ γ √(M_i M_j) with M_i = Σ_c (Σ_t ‖x_t‖ ‖g_ct‖)², at least K_ii."""

    @property
    @abstractmethod
    def inner(self) -> int:
        """The length of the sums behind an entry."""

    @abstractmethod
    def magnitudes(self) -> Tensor:
        """M, one for each row, of a symmetric term."""

    @abstractmethod
    def side(self, which: int) -> RoundedByMagnitudes:
        """The symmetric term of the rows (0) or the columns (1)."""

    def rounding(self) -> float:
        """γ."""
        gamma = (self.inner + 1) * torch.finfo(self.dtype).eps / 2
        return gamma / (1 - gamma)

    def forming_error(self) -> float:
        """γ Σ_i M_i: where positions cancel, far below entry_error · tr K."""
        self._require_symmetric("forming error")
        return self.rounding() * float(self.magnitudes().sum(dtype=torch.float64)) * (1 + 1e-6)

    def entry_error(self) -> float:
        worst = 1.0
        for which in (0,) if self.symmetric else (0, 1):
            block = self.side(which)
            worst = max(worst, largest_ratio(block.magnitudes(), block.diagonal()))
        return self.rounding() * worst * (1 + 1e-6)


def largest_ratio(above: Tensor, below: Tensor) -> float:
    """max_i above_i / below_i with 0/0 = 0; infinite where only ``below`` is 0."""
    ratios = torch.where(above > 0, above / below, 0.0)
    return float(ratios.max())
