"""The kernel that every finite network here has: a Hadamard sum of Gram matrices.

K = Σ_t s_t (F_t F_tᵀ) ∘ (B_t B_tᵀ), held as factors: N·Σ(n_F + n_B) numbers instead of N².
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory

_LEAF = 128  # rows of a diagonal block formed in full: the only flops spent twice
_TILE = (512, 1024)  # rows and columns of an off-diagonal block: two Gram tiles stay in cache


@dataclass(frozen=True, eq=False)
class Factor:
    """A Gram factor: ``rows`` is N×m, ``columns`` M×m; ``columns is rows`` for a symmetric kernel."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def symmetric(cls, matrix: Tensor) -> Factor:
        return cls(matrix, matrix)

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    def to(self, dtype: torch.dtype | None, device: torch.device | str | None) -> Factor:
        rows = self.rows.to(device=device, dtype=dtype)
        same = self.columns is self.rows
        return Factor(rows, rows if same else self.columns.to(device=device, dtype=dtype))


@dataclass(frozen=True, eq=False)
class Term:
    """One summand: scale · (F Fᵀ) ∘ (B Bᵀ); a missing factor stands for the all-ones matrix."""

    name: str
    features: Factor | None
    signals: Factor | None
    scale: float = 1.0

    @property
    def factors(self) -> tuple[Factor, ...]:
        return tuple(f for f in (self.features, self.signals) if f is not None)

    @property
    def inner(self) -> int:
        """d_F + d_B, the length of the sums behind an entry."""
        return sum(f.width for f in self.factors)


class HadamardKernel:
    """A kernel matrix of shape (N, M), held as its factors.

    ``K.dense()`` forms it, ``K.tile(rows, cols)`` a part, ``K @ v`` applies it without forming it.
    ``n_parameters`` bounds its rank; ``near_kinks`` counts pre-activations so close to a kink of
    the activation that rounding may decide on which side they lie.
    """

    covers = "the exact kernel of the stored factors"

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        n_parameters: int | None = None,
        near_kinks: int = 0,
        labels: tuple[str, ...] = ("sample",),
    ) -> None:
        if not terms:
            raise ValueError("a kernel needs at least one term")
        if any(not t.factors for t in terms):
            raise ValueError("every term needs features or signals")
        self.terms = tuple(terms)
        self.n_parameters = n_parameters
        self.near_kinks = near_kinks
        self.labels = labels
        first = self.terms[0].factors[0]
        self.shape = (int(first.rows.shape[0]), int(first.columns.shape[0]))
        for term in self.terms:
            for factor in term.factors:
                got = (int(factor.rows.shape[0]), int(factor.columns.shape[0]))
                if got != self.shape:
                    raise ValueError(f"term {term.name!r} has shape {got}, the first {self.shape}")

    @property
    def dtype(self) -> torch.dtype:
        return self.terms[0].factors[0].rows.dtype

    @property
    def device(self) -> torch.device:
        return self.terms[0].factors[0].rows.device

    @property
    def symmetric(self) -> bool:
        """False for a cross kernel."""
        return all(f.rows is f.columns for t in self.terms for f in t.factors)

    @property
    def nbytes_dense(self) -> int:
        """Bytes of ``dense()``: itemsize · N · M."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def nbytes_factors(self) -> int:
        """Bytes that the factors hold, shared ones counted once."""
        held = {id(m): m for t in self.terms for f in t.factors for m in (f.rows, f.columns)}
        return sum(m.numel() * m.element_size() for m in held.values())

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self.terms)
        return f"HadamardKernel(shape={self.shape}, dtype={self.dtype}, terms=[{names}])"

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> HadamardKernel:
        """The same kernel with its factors in another precision or on another device."""
        moved: dict[int, Factor] = {}

        def move(factor: Factor | None) -> Factor | None:
            if factor is None:
                return None
            return moved.setdefault(id(factor), factor.to(dtype, device))

        terms = [replace(t, features=move(t.features), signals=move(t.signals)) for t in self.terms]
        return self._with(terms)

    def _with(self, terms: Sequence[Term]) -> HadamardKernel:
        return HadamardKernel(
            terms, n_parameters=self.n_parameters, near_kinks=self.near_kinks, labels=self.labels
        )

    def term(self, index: int) -> HadamardKernel:
        """The kernel of one term alone, e.g. Bombari's K_{L-2} is term L−2 of a network's NTK."""
        return self._with([self.terms[index]])

    def tile(self, rows: slice | Tensor, cols: slice | Tensor) -> Float[Tensor, "r c"]:
        """The entries K[rows, cols]."""
        (n_rows, n_cols) = (_count(rows, self.shape[0]), _count(cols, self.shape[1]))
        out = torch.empty(n_rows, n_cols, dtype=self.dtype, device=self.device)
        self._fill(out, rows, cols, _Scratch(n_rows * n_cols, self.dtype, self.device))
        return out

    def dense(self, out: Tensor | None = None) -> Float[Tensor, "N M"]:
        """The matrix, symmetric halves computed once.

        Needs ``nbytes_dense`` and a few MB of scratch; ``out`` reuses an (N, M) tensor.
        Raises NotEnoughMemoryError when it does not fit.
        """
        N, M = self.shape
        if out is None:
            if self.device.type == "cpu":
                memory.require(
                    self.nbytes_dense, f"forming the {N}×{M} kernel in {self.dtype}",
                    "use K @ v or K.tile(rows, cols), or K.to(torch.float32) for half of it",
                )  # fmt: skip
            out = torch.empty(N, M, dtype=self.dtype, device=self.device)
        elif out.shape != self.shape or out.dtype != self.dtype:
            raise ValueError(f"out must be {self.shape} {self.dtype}, got {out.shape} {out.dtype}")
        scratch = _Scratch(_TILE[0] * _TILE[1], self.dtype, self.device)
        if self.symmetric:
            self._fill_symmetric(out, 0, N, scratch)
        else:
            self._fill_rectangle(out, (0, N), (0, M), scratch, mirror=False)
        return out

    def _fill_symmetric(self, out: Tensor, start: int, stop: int, scratch: _Scratch) -> None:
        if stop - start <= _LEAF:
            span = slice(start, stop)
            block = out[span, span]
            self._fill(block, span, span, scratch)
            # a product may round (i, j) and (j, i) apart; the stored matrix is symmetric in each bit
            block.copy_(torch.triu(block) + torch.triu(block, 1).T)
            return
        middle = start + max(_LEAF, (stop - start) // 2 // _LEAF * _LEAF)
        self._fill_symmetric(out, start, middle, scratch)
        self._fill_symmetric(out, middle, stop, scratch)
        self._fill_rectangle(out, (start, middle), (middle, stop), scratch, mirror=True)

    def _fill_rectangle(
        self,
        out: Tensor,
        rows: tuple[int, int],
        cols: tuple[int, int],
        scratch: _Scratch,
        mirror: bool,
    ) -> None:
        for i in range(rows[0], rows[1], _TILE[0]):
            for j in range(cols[0], cols[1], _TILE[1]):
                r, c = slice(i, min(i + _TILE[0], rows[1])), slice(j, min(j + _TILE[1], cols[1]))
                self._fill(out[r, c], r, c, scratch)
                if mirror:
                    out[c, r].copy_(scratch.transposed(out[r, c]))

    def _fill(
        self, out: Tensor, rows: slice | Tensor, cols: slice | Tensor, scratch: _Scratch
    ) -> None:
        """Write K[rows, cols]; terms that share a signal factor (weights and biases) share its Gram."""
        gram_b, held = scratch.take(0, out.shape), None
        for index, term in enumerate(self.terms):
            if term.signals is not None and term.signals is not held:
                _gram(term.signals, rows, cols, 1.0, gram_b)
                held = term.signals
            if term.features is None:
                out.copy_(gram_b * term.scale) if index == 0 else out.add_(gram_b, alpha=term.scale)
            elif index == 0:
                _gram(term.features, rows, cols, term.scale, out)
                if term.signals is not None:
                    out.mul_(gram_b)
            else:
                gram_f = scratch.take(1, out.shape)
                _gram(term.features, rows, cols, term.scale, gram_f)
                out.add_(gram_f) if term.signals is None else out.addcmul_(gram_f, gram_b)

    def diagonal(self) -> Float[Tensor, N]:
        """K_ii = Σ_t s_t ‖F_i‖² ‖B_i‖², without forming K. Needs a square kernel."""
        self._require_square("diagonal")
        total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        for term in self.terms:
            part = torch.full_like(total, term.scale)
            for factor in term.factors:
                part *= torch.linalg.vecdot(factor.rows, factor.columns)
            total += part
        return total

    def trace(self) -> float:
        """Σ_i K_ii."""
        return float(self.diagonal().sum())

    def forming_error(self) -> float:
        """A bound on ‖fl(K) − K‖₂ of ``dense()`` for the stored factors of a symmetric kernel.

        u · max_t(d_F + d_B + T + 1) · tr K, u the unit roundoff: each entry is a sum of products
        of two inner products, wrong by at most γ √(K_ii K_jj), and ‖·‖₂ ≤ trace for such a bound.
        """
        self._require_square("forming error")
        u = torch.finfo(self.dtype).eps / 2
        length = max(t.inner for t in self.terms) + len(self.terms) + 1
        gamma = length * u / (1 - length * u)
        return gamma * self.trace() * (1 + length * u)

    def __matmul__(self, other: Tensor) -> Tensor:
        """K v or K V, through the factors or by tiles, whichever takes fewer flops."""
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.shape[0] != self.shape[1] or other.ndim not in (1, 2):
            raise ValueError(f"cannot apply a {self.shape} kernel to shape {tuple(other.shape)}")
        V = (other[:, None] if other.ndim == 1 else other).to(self.dtype)
        product = (
            self._by_factors(V) if self._factors_are_cheaper(V.shape[1]) else self._by_tiles(V)
        )
        return product[:, 0] if other.ndim == 1 else product

    def _factors_are_cheaper(self, columns: int) -> bool:
        N, M = self.shape
        through = sum(2 * (N + M) * math.prod(f.width for f in t.factors) for t in self.terms)
        return columns * through < 2 * N * M * sum(t.inner for t in self.terms)

    def _by_factors(self, V: Tensor) -> Tensor:
        out = torch.zeros(self.shape[0], V.shape[1], dtype=self.dtype, device=self.device)
        for term in self.terms:
            for j in range(V.shape[1]):
                out[:, j] += term.scale * _apply_term(term, V[:, j])
        return out

    def _by_tiles(self, V: Tensor) -> Tensor:
        N, M = self.shape
        out = torch.empty(N, V.shape[1], dtype=self.dtype, device=self.device)
        step = max(1, min(N, _TILE[0] * _TILE[1] * 8 // M))
        scratch = _Scratch(step * M, self.dtype, self.device)
        panel = torch.empty(step, M, dtype=self.dtype, device=self.device)
        for i in range(0, N, step):
            rows = slice(i, min(i + step, N))
            part = panel[: rows.stop - rows.start]
            self._fill(part, rows, slice(0, M), scratch)
            torch.mm(part, V, out=out[rows])
        return out

    def to_scipy(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator`` over the same factors (CPU copies in and out)."""
        from scipy.sparse.linalg import LinearOperator

        def apply(v: Any, kernel: HadamardKernel) -> Any:
            tensor = torch.as_tensor(v, dtype=self.dtype, device=self.device)
            return (kernel @ tensor).cpu().numpy()

        return LinearOperator(
            dtype=torch.empty(0, dtype=self.dtype).numpy().dtype,
            shape=self.shape,
            matvec=lambda v: apply(v.reshape(-1), self),
            rmatvec=lambda v: apply(v.reshape(-1), self.T),
            matmat=lambda V: apply(V, self),
        )

    @property
    def T(self) -> HadamardKernel:
        """The transpose: rows and columns exchanged."""

        def swap(factor: Factor | None) -> Factor | None:
            if factor is None or factor.rows is factor.columns:
                return factor
            return Factor(factor.columns, factor.rows)

        return self._with(
            [replace(t, features=swap(t.features), signals=swap(t.signals)) for t in self.terms]
        )

    def _require_square(self, what: str) -> None:
        if not self.symmetric:
            raise ValueError(
                f"the {what} needs a symmetric kernel, this is a cross kernel {self.shape}"
            )


class _Scratch:
    """Two reused buffers for Gram tiles, so that forming K allocates nothing N×N."""

    def __init__(self, numel: int, dtype: torch.dtype, device: torch.device) -> None:
        self._numel, self._dtype, self._device = numel, dtype, device
        self._buffers: list[Tensor | None] = [None, None]

    def take(self, index: int, shape: torch.Size) -> Tensor:
        buffer = self._buffers[index]
        if buffer is None:
            buffer = torch.empty(self._numel, dtype=self._dtype, device=self._device)
            self._buffers[index] = buffer
        return buffer[: shape.numel()].view(shape)

    def transposed(self, block: Tensor) -> Tensor:
        """A contiguous transpose in the second buffer: torch is quick only at contiguous targets."""
        flat = self.take(0, block.shape).copy_(block)
        return self.take(1, torch.Size(block.shape[::-1])).copy_(flat.T)


def _gram(
    factor: Factor, rows: slice | Tensor, cols: slice | Tensor, scale: float, out: Tensor
) -> None:
    left, right = factor.rows[rows], factor.columns[cols]
    torch.addmm(out, left, right.T, beta=0.0, alpha=scale, out=out)


def _apply_term(term: Term, v: Tensor) -> Tensor:
    """((F Fᵀ) ∘ (B Bᵀ)) v: row i is F_iᵀ (Fᵀ diag(v) B) B_i."""
    factors = term.factors
    if len(factors) == 1:
        return factors[0].rows @ (factors[0].columns.T @ v)
    first, second = factors
    if first.width > second.width:
        first, second = second, first
    core = (first.columns * v[:, None]).T @ second.columns
    return torch.linalg.vecdot(first.rows, second.rows @ core.T)


def _count(index: slice | Tensor, size: int) -> int:
    if isinstance(index, slice):
        return len(range(*index.indices(size)))
    return int(index.sum()) if index.dtype == torch.bool else int(index.shape[0])
