"""A kernel whose factors do not fit: made again, panel by panel, whenever they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.kernel import Index
from ntkscope.kernels.module.holding.general import General
from ntkscope.kernels.module.holding.module_kernel import require_within
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.collect import numbers_held
from ntkscope.kernels.module.reading.subject import Inputs, take


class LazyTerm:
    """The name of a parameter's term; its numbers are made on demand."""

    features = None
    signals = None
    factors: tuple[Any, ...] = ()
    scale = 1.0

    def __init__(self, name: str, inner: int) -> None:
        self.name = name
        self.inner = inner


class LazyKernel(HadamardKernel):
    """The same numbers as the kernel it stands for, in memory that does not grow with N.

    Tiles pass the samples of their rows and columns through the model again; products take a
    backward and a forward derivative (vjp, jvp) of the model, in chunks.
    """

    def __init__(
        self, recipe: Recipe, rows: Inputs, cols: Inputs | None, names: Sequence[str] | None = None
    ) -> None:
        self._recipe, self._rows, self._cols = recipe, rows, cols
        found = recipe.survey
        used = [n for n in recipe.subject.parameters if n not in found.unused]
        self._names = tuple(used if names is None else names)
        self._lead = len(recipe.outputs) if recipe.full else 1
        summed = 1 if recipe.full else len(recipe.outputs)
        self.n_parameters = recipe.subject.n_parameters * summed
        self.near_kinks = 0
        self.labels = ("sample", "output") if recipe.full else ("sample",)
        other = rows if cols is None else cols
        self._shape = (len(rows[0]) * self._lead, len(other[0]) * self._lead)
        C = 1 if recipe.full else len(recipe.outputs)
        sizes = {n: recipe.subject.parameters[n].numel() * C for n in self._names}
        self._held = tuple(LazyTerm(n, sizes[n]) for n in self._names)

    @property
    def terms(self) -> tuple[LazyTerm, ...]:  # type: ignore[override]  # named, not held
        return self._held

    @property
    def shape(self) -> tuple[int, int]:
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        return self._recipe.subject.dtype

    @property
    def device(self) -> torch.device:
        return self._recipe.subject.device

    @property
    def symmetric(self) -> bool:
        return self._cols is None

    @property
    def nbytes_factors(self) -> int:
        """None are held; the inputs are."""
        parts = [*self._rows, *(self._cols or ())]
        return sum(t.numel() * t.element_size() for t in parts)

    @property
    def panel(self) -> int:
        """Samples whose factors are held at a time, on each side of a tile."""
        recipe = self._recipe
        each = numbers_held(recipe.subject, recipe.survey, len(recipe.outputs))
        copies = 4.0 * (2.0 if recipe.full else 1.0)  # two sides, and room to contract them
        nbytes = copies * each * self.dtype.itemsize
        by_factors = int(recipe.limit / 2 / max(1.0, nbytes))
        by_tile = int(math.sqrt(recipe.limit / 8 / self.dtype.itemsize) / self._lead)
        return max(1, min(by_factors, by_tile))

    def __repr__(self) -> str:
        return (
            f"LazyKernel(shape={self.shape}, dtype={self.dtype}, {len(self.terms)} terms, "
            f"{self.panel} samples at a time)"
        )

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> HadamardKernel:
        """Raises ValueError: convert the model instead, its passes are repeated."""
        if dtype in (None, self.dtype) and device in (None, self.device):
            return self
        raise ValueError(
            "a kernel whose factors are made on demand has its model's precision and device; "
            "convert the model and make the kernel again"
        )

    def _with(self, terms: Sequence[Any]) -> HadamardKernel:
        names = [t.name for t in terms]
        return LazyKernel(self._recipe, self._rows, self._cols, names)

    @property
    def T(self) -> HadamardKernel:
        if self._cols is None:
            return self
        return LazyKernel(self._recipe, self._cols, self._rows, self._names)

    def _made(self, rows: Inputs, cols: Inputs | None) -> HadamardKernel:
        kernel = self._recipe.kernel(rows, cols)
        if len(self._names) == len(kernel.terms):
            return kernel
        return kernel._with([t for t in kernel.terms if t.name in self._names])

    def _sides(self) -> tuple[Inputs, Inputs]:
        return self._rows, self._rows if self._cols is None else self._cols

    def tile(self, rows: Index, cols: Index) -> Tensor:
        left, right = self._sides()
        at = [_split(i, s, self._lead) for i, s in zip((rows, cols), self.shape, strict=True)]
        (samples, places), (others, spots) = at
        out = torch.empty(
            len(samples) * self._lead, len(others) * self._lead, dtype=self.dtype,
            device=self.device,
        )  # fmt: skip
        for i, block in self._blocks(len(samples)):
            part = take(left, samples[block])
            for j, other in self._blocks(len(others)):
                made = self._made(part, take(right, others[other])).dense()
                out[i : i + len(made), j : j + made.shape[1]] = made
        return out[places][:, spots]

    def _blocks(self, n: int) -> Iterator[tuple[int, slice]]:
        """Panels of n samples, each with the first of its rows in the kernel."""
        for i in range(0, n, self.panel):
            yield i * self._lead, slice(i, min(i + self.panel, n))

    def dense(self, out: Tensor | None = None) -> Tensor:
        if out is None:
            limit = self._recipe.limit / 2 if self._recipe.strict else None
            require_within(self.nbytes_dense, f"forming the {self.shape} kernel", limit)
            out = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        left, right = self._sides()
        for i, block in self._blocks(len(left[0])):
            part = take(left, block)
            for j, other in self._blocks(len(right[0])):
                if self.symmetric and j < i:
                    continue
                same = self.symmetric and i == j
                made = self._made(part, None if same else take(right, other)).dense()
                out[i : i + len(made), j : j + made.shape[1]] = made
                if self.symmetric and not same:
                    out[j : j + made.shape[1], i : i + len(made)] = made.T
        return out

    def diagonal(self) -> Tensor:
        self._require_symmetric("diagonal")
        return self._over_panels(lambda kernel: kernel.diagonal())

    def _over_panels(self, measure: Callable[[HadamardKernel], Tensor]) -> Tensor:
        return torch.cat(
            [
                measure(self._made(take(self._rows, b), None))
                for _, b in self._blocks(len(self._rows[0]))
            ]
        )

    def forming_error(self) -> float:
        """As of the kernel that this stands for: the panels' bounds add up, being traces."""
        self._require_symmetric("forming error")
        errors = self._over_panels(lambda k: torch.tensor([k.forming_error()], dtype=torch.float64))
        return float(errors.sum())

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.shape[0] != self.shape[1] or other.ndim not in (1, 2):
            raise ValueError(f"cannot apply a {self.shape} kernel to shape {tuple(other.shape)}")
        V = (other[:, None] if other.ndim == 1 else other).to(self.dtype)
        recipe = self._recipe
        if recipe.loop:
            product = self._by_rows(V)
        else:
            source = General(
                recipe.subject, self._sides(), recipe.outputs, recipe.full, True, "", recipe.budget
            )
            product = source.apply(self._names, V, recipe.chunk)
        return product[:, 0] if other.ndim == 1 else product

    def _by_rows(self, V: Tensor) -> Tensor:
        step = self.panel * self._lead
        parts = [
            self.tile(slice(i, min(i + step, self.shape[0])), slice(0, self.shape[1])) @ V
            for i in range(0, self.shape[0], step)
        ]
        return torch.cat(parts)

    def for_samples(self, rows: Tensor, cols: Tensor) -> HadamardKernel:
        """The held kernel of a few samples, for checks."""
        left, right = self._sides()
        return self._made(take(left, rows), take(right, cols))


def _split(index: Index, size: int, lead: int) -> tuple[Tensor, Tensor]:
    """Samples behind the rows ``index`` of a kernel, and the rows' places among theirs."""
    flat = torch.arange(size)[index.cpu() if isinstance(index, Tensor) else index]
    samples, place = torch.unique(flat // lead, return_inverse=True)
    return samples, place * lead + flat % lead
