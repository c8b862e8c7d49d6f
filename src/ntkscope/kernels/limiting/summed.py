"""A kernel held as its terms' matrices: what an infinitely wide network has in place of factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.kernel import Index
from ntkscope.kernels.limiting.dual import ACCURACY
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network


@dataclass(frozen=True, eq=False)
class MatrixTerm:
    """One summand as a matrix. It has no Gram factors, so no bound that is read off factors."""

    name: str
    matrix: Tensor
    features: None = None
    signals: None = None
    scale: float = 1.0
    inner: int = 0
    factors: tuple[Factor, ...] = ()


class SummedKernel(HadamardKernel):
    """Σ_t M_t of N×N matrices, each entry known to ``accuracy`` · √(K_ii K_jj)."""

    covers = "the exact limiting kernel of these inputs"

    def __init__(self, terms: Sequence[MatrixTerm], accuracy: float) -> None:
        if not terms:
            raise ValueError("a kernel needs at least one term")
        self._parts = tuple(terms)
        self._accuracy = accuracy
        self.n_parameters = None
        self.near_kinks = 0
        self.labels = ("sample",)

    @property
    def terms(self) -> tuple[Term, ...]:
        return cast(tuple[Term, ...], self._parts)  # spectra ask only what both have

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self._parts[0].matrix), len(self._parts[0].matrix))

    @property
    def dtype(self) -> torch.dtype:
        return self._parts[0].matrix.dtype

    @property
    def device(self) -> torch.device:
        return self._parts[0].matrix.device

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def nbytes_factors(self) -> int:
        return len(self._parts) * self.nbytes_dense

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self._parts)
        return f"SummedKernel(shape={self.shape}, dtype={self.dtype}, terms=[{names}])"

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> HadamardKernel:
        moved = [replace(t, matrix=t.matrix.to(dtype=dtype, device=device)) for t in self._parts]
        return SummedKernel(moved, self._accuracy)

    def term(self, which: int | str) -> HadamardKernel:
        return SummedKernel([self._parts[self._place_of(which)]], self._accuracy)

    def tile(self, rows: Index, cols: Index) -> Tensor:
        out = self._parts[0].matrix[rows][:, cols].clone()
        for part in self._parts[1:]:
            out += part.matrix[rows][:, cols]
        return out

    def dense(self, out: Tensor | None = None) -> Tensor:
        if out is None:
            out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        out.copy_(self._parts[0].matrix)
        for part in self._parts[1:]:
            out += part.matrix
        return out

    def diagonal(self) -> Tensor:
        return torch.stack([t.matrix.diagonal() for t in self._parts]).sum(dim=0)

    def forming_error(self) -> float:
        """‖fl(K) − K‖₂ ≤ (accuracy + T u) tr K: the entries' own error and that of adding T terms."""
        u = torch.finfo(self.dtype).eps / 2
        return (self._accuracy + len(self._parts) * u) * self.trace() * (1 + 1e-6)

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.ndim not in (1, 2) or other.shape[0] != self.shape[1]:
            raise ValueError(f"cannot apply a {self.shape} kernel to shape {tuple(other.shape)}")
        V = other.to(self.dtype)
        out = self._parts[0].matrix @ V
        for part in self._parts[1:]:
            out += part.matrix @ V
        return out

    @property
    def T(self) -> HadamardKernel:
        return self


def limiting_terms(net: Network, X: Any, *, reduce: str | int = "trace") -> SummedKernel:
    """The limiting NTK of ``net`` on X (N, d) by its L terms (Nguyen et al. 2021, eq. 17), W_1 … W_L.

    Term l belongs to layer l's weights and biases. In float64; the accuracy is that of
    :func:`limiting_ntk`: (d + 10L) u for the sums and closed forms, and that of its series.
    Raises what ``limiting_ntk`` raises, and NotEnoughMemoryError for the L matrices.
    """
    samples = as_data(X, dtype=torch.float64)
    n, d = samples.shape
    memory.require(
        (net.depth + 1) * 8 * n * n, f"the {net.depth} terms of an N = {n} limiting kernel",
        "use limiting_kernel(net, X), which forms tiles, or fewer samples",
    )  # fmt: skip
    made = limiting_ntk(net, samples, get="terms", reduce=reduce)
    terms = [MatrixTerm(f"W_{i}", matrix) for i, matrix in enumerate(made, 1)]
    u = torch.finfo(torch.float64).eps / 2
    return SummedKernel(terms, (d + 10 * net.depth) * u + 2 * ACCURACY)
