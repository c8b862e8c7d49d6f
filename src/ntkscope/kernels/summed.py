"""A sum of kernels of one shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope.kernels.index import Index
from ntkscope.kernels.kernel import Kernel


class SummedKernel(Kernel):
    """Σ_t K_t of kernels in one precision, on one device.

    Raises
    ------
    ValueError
        Without a term, or for terms of different shapes, precisions or devices.
    """

    def __init__(self, terms: Sequence[Kernel], *, covers: str = "") -> None:
        if not terms:
            raise ValueError("a kernel needs at least one term")
        first = terms[0]
        for term in terms[1:]:
            for what in ("shape", "dtype", "device"):
                if getattr(term, what) != getattr(first, what):
                    raise ValueError(
                        f"terms must have one {what}: {first.name!r} has {getattr(first, what)}, "
                        f"{term.name!r} {getattr(term, what)}"
                    )
        self._terms = tuple(terms)
        self.covers, self.labels = covers or first.covers, first.labels
        self.near_kinks = max(t.near_kinks for t in terms)
        self.summed = max(t.summed for t in terms)
        ranks = [t.n_parameters for t in terms]
        self.n_parameters = None if None in ranks else sum(r for r in ranks if r is not None)

    @property
    def terms(self) -> Sequence[Kernel]:
        return self._terms

    def _of_terms(self, places: Sequence[int]) -> Kernel:
        return SummedKernel([self._terms[i] for i in places], covers=self.covers)

    @property
    def shape(self) -> tuple[int, int]:
        return self._terms[0].shape

    @property
    def dtype(self) -> torch.dtype:
        return self._terms[0].dtype

    @property
    def device(self) -> torch.device:
        return self._terms[0].device

    @property
    def symmetric(self) -> bool:
        return all(t.symmetric for t in self._terms)

    @property
    def semidefinite(self) -> bool:
        return all(t.semidefinite for t in self._terms)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        out = self._terms[0].tile(rows, cols)
        for term in self._terms[1:]:
            out += term.tile(rows, cols)
        return out

    def matmul(self, V: Tensor) -> Tensor:
        out = self._terms[0].matmul(V)
        for term in self._terms[1:]:
            out += term.matmul(V)
        return out

    def _diagonal(self) -> Tensor:
        return torch.stack([t.diagonal() for t in self._terms]).sum(dim=0)

    def entry_error(self) -> float:
        """The largest of the terms', and T u of adding them up.

        Σ_t γ_t √(K^t_ii K^t_jj) ≤ max γ_t √(K_ii K_jj) by Cauchy and Schwarz, where no term's
        diagonal is negative.
        """
        u = torch.finfo(self.dtype).eps / 2
        return max(t.entry_error() for t in self._terms) + len(self._terms) * u * (1 + 2.0**-20)

    def forming_error(self) -> float:
        """The terms' own bounds, and T u tr K of adding them up."""
        self._require_symmetric("forming error")
        u = torch.finfo(self.dtype).eps / 2
        added = len(self._terms) * u * self.trace()
        return (sum(t.forming_error() for t in self._terms) + added) * (1 + 2.0**-20)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> SummedKernel:
        return SummedKernel([t.to(dtype, device) for t in self._terms], covers=self.covers)

    @property
    def T(self) -> Kernel:
        return SummedKernel([t.T for t in self._terms], covers=self.covers)
