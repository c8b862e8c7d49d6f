"""The kernel that every finite network here has: a Hadamard sum of Gram matrices.

K = Σ_t s_t (F_t F_tᵀ) ∘ (B_t B_tᵀ), held as factors: N·Σ(n_F + n_B) numbers instead of N².
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ntkscope._base.devices import sides
from ntkscope._base.precision import ieee_float32
from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.scratch import Scratch

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


class Factored(Kernel):
    """What one term and a sum of them share: everything is read from the factors."""

    covers = "the exact kernel of the stored factors"

    @property
    @abstractmethod
    def terms(self) -> Sequence[Term]: ...

    @property
    def _first(self) -> Factor:
        return self.terms[0].factors[0]

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._first.rows.shape[0]), int(self._first.columns.shape[0])

    @property
    def dtype(self) -> torch.dtype:
        return self._first.rows.dtype

    @property
    def device(self) -> torch.device:
        return self._first.rows.device

    @property
    def symmetric(self) -> bool:
        return all(f.rows is f.columns for t in self.terms for f in t.factors)

    @property
    def semidefinite(self) -> bool:
        return self.symmetric and all(t.scale >= 0 for t in self.terms)

    @property
    def nbytes_factors(self) -> int:
        """Bytes that the factors hold, shared ones counted once."""
        held = {id(m): m for t in self.terms for f in t.factors for m in (f.rows, f.columns)}
        return sum(m.numel() * m.element_size() for m in held.values())

    @ieee_float32()
    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        out = torch.empty(count(r), count(c), dtype=self.dtype, device=self.device)
        self._write(out, r, c, Scratch(out.numel(), self.dtype, self.device))
        return out

    @ieee_float32()
    def _fill(self, out: Tensor) -> None:
        N, M = self.shape
        tile = sides(_TILE, self.device)
        scratch = Scratch(tile[0] * tile[1], self.dtype, self.device)
        if self.symmetric:
            self._fill_symmetric(out, 0, N, scratch)
        else:
            self._fill_rectangle(out, (0, N), (0, M), scratch, mirror=False)

    def _fill_symmetric(self, out: Tensor, start: int, stop: int, scratch: Scratch) -> None:
        if stop - start <= _LEAF:
            span = slice(start, stop)
            block = out[span, span]
            self._write(block, span, span, scratch)
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
        scratch: Scratch,
        mirror: bool,
    ) -> None:
        tile = sides(_TILE, self.device)
        for i in range(rows[0], rows[1], tile[0]):
            for j in range(cols[0], cols[1], tile[1]):
                r, c = slice(i, min(i + tile[0], rows[1])), slice(j, min(j + tile[1], cols[1]))
                self._write(out[r, c], r, c, scratch)
                if mirror:
                    out[c, r].copy_(scratch.transposed(out[r, c]))

    def _write(
        self, out: Tensor, rows: slice | Tensor, cols: slice | Tensor, scratch: Scratch
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

    def _diagonal(self) -> Tensor:
        """K_ii = Σ_t s_t ‖F_i‖² ‖B_i‖²."""
        total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        for term in self.terms:
            part = torch.full_like(total, term.scale)
            for factor in term.factors:
                part *= torch.linalg.vecdot(factor.rows, factor.columns)
            total += part
        return total

    def _own(self, side: str, absolute: bool) -> Tensor:
        """k(x, x) of every row ("rows") or column ("columns"), with |s_t| for ``absolute``."""
        total = torch.zeros_like(getattr(self._first, side)[:, 0])
        for term in self.terms:
            part = torch.full_like(total, abs(term.scale) if absolute else term.scale)
            for factor in term.factors:
                part *= getattr(factor, side).square().sum(dim=1)
            total += part
        return total

    def _gamma(self) -> float:
        """γ of an entry's sum of T products of two inner products: d_F + d_B + T + 1 operations."""
        u = torch.finfo(self.dtype).eps / 2
        length = max(t.inner for t in self.terms) + len(self.terms) + 1
        return length * u / (1 - length * u)

    def entry_error(self) -> float:
        """γ, by Cauchy and Schwarz; times max Σ|s_t|…/Σ s_t… where the terms have both signs."""
        gamma = self._gamma()
        if all(t.scale >= 0 for t in self.terms):
            return gamma
        worst = 1.0
        for side in {"rows"} if self.symmetric else {"rows", "columns"}:
            own = self._own(side, absolute=False)
            ratio = self._own(side, absolute=True) / own
            worst = max(worst, float(ratio.max()) if bool((own > 0).all()) else math.inf)
        return gamma * worst * (1 + 4 * gamma)

    def forming_error(self) -> float:
        self._require_symmetric("forming error")
        if self.semidefinite:
            return super().forming_error()
        gamma = self._gamma()
        return gamma * float(self._own("rows", absolute=True).double().sum()) * (1 + 4 * gamma)

    @ieee_float32()
    def matmul(self, V: Tensor) -> Tensor:
        """Through the factors or by tiles, whichever takes fewer flops."""
        return self._by_factors(V) if self._factors_are_cheaper(V.shape[1]) else self._by_tiles(V)

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
        step = max(1, min(N, math.prod(sides(_TILE, self.device)) * 8 // M))
        scratch = Scratch(step * M, self.dtype, self.device)
        panel = torch.empty(step, M, dtype=self.dtype, device=self.device)
        for i in range(0, N, step):
            rows = slice(i, min(i + step, N))
            part = panel[: rows.stop - rows.start]
            self._write(part, rows, slice(0, M), scratch)
            torch.mm(part, V, out=out[rows])
        return out


@dataclass(frozen=True, eq=False, repr=False)
class Term(Factored):
    """One summand: scale · (F Fᵀ) ∘ (B Bᵀ); a missing factor stands for the all-ones matrix."""

    name: str = field()
    features: Factor | None
    signals: Factor | None
    scale: float = 1.0

    @property
    def terms(self) -> Sequence[Term]:
        return (self,)

    @property
    def factors(self) -> tuple[Factor, ...]:
        return tuple(f for f in (self.features, self.signals) if f is not None)

    @property
    def inner(self) -> int:
        """d_F + d_B, the length of the sums behind an entry."""
        return sum(f.width for f in self.factors)

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Term:
        return moved([self], dtype, device)[0]

    @property
    def T(self) -> Term:
        return replace(self, features=_swapped(self.features), signals=_swapped(self.signals))


class HadamardKernel(Factored):
    """A kernel matrix of shape (N, M), held as its factors.

    ``K.dense()`` forms it, ``K.tile(rows, cols)`` a part, ``K @ v`` applies it without forming it.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        n_parameters: int | None = None,
        near_kinks: int = 0,
        labels: tuple[str, ...] = ("sample",),
        summed: int = 1,
    ) -> None:
        if not terms:
            raise ValueError("a kernel needs at least one term")
        if any(not t.factors for t in terms):
            raise ValueError("every term needs features or signals")
        self._terms = tuple(terms)
        self.n_parameters = n_parameters
        self.near_kinks = near_kinks
        self.labels = labels
        self.summed = summed
        for term in self.terms:
            for factor in term.factors:
                got = (int(factor.rows.shape[0]), int(factor.columns.shape[0]))
                if got != self.shape:
                    raise ValueError(f"term {term.name!r} has shape {got}, the first {self.shape}")

    @property
    def terms(self) -> Sequence[Term]:
        return self._terms

    def _with(self, terms: Sequence[Term]) -> HadamardKernel:
        return HadamardKernel(
            terms, n_parameters=self.n_parameters, near_kinks=self.near_kinks, labels=self.labels,
            summed=self.summed,
        )  # fmt: skip

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> HadamardKernel:
        """The same kernel with its factors in another precision or on another device."""
        return self._with(moved(self.terms, dtype, device))

    def term(self, which: int | str) -> HadamardKernel:
        return self._with([self.terms[self._place_of(which)]])

    def _of_terms(self, places: Sequence[int]) -> HadamardKernel:
        return self._with([self.terms[i] for i in places])

    @property
    def T(self) -> HadamardKernel:
        return self._with([t.T for t in self.terms])


def moved(
    terms: Sequence[Term], dtype: torch.dtype | None, device: torch.device | str | None
) -> list[Term]:
    """Terms with their factors elsewhere; what they shared they still share."""
    made: dict[int, Factor] = {}

    def move(factor: Factor | None) -> Factor | None:
        if factor is None:
            return None
        if id(factor) not in made:
            made[id(factor)] = factor.to(dtype, device)
        return made[id(factor)]

    return [replace(t, features=move(t.features), signals=move(t.signals)) for t in terms]


def _swapped(factor: Factor | None) -> Factor | None:
    if factor is None or factor.rows is factor.columns:
        return factor
    return Factor(factor.columns, factor.rows)


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
