"""A kernel whose factors do not fit: made again, panel by panel, whenever they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ntkscope.kernels.index import Index, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.module.holding.general import Agreed, General
from ntkscope.kernels.module.holding.module_kernel import require_within
from ntkscope.kernels.module.holding.rows import samples_of
from ntkscope.kernels.module.making.assemble import Recipe
from ntkscope.kernels.module.making.passed import numbers_held
from ntkscope.kernels.module.reading.subject import Inputs, take


class LazyKernel(Kernel):
    """The same numbers as the kernel it stands for, in memory that does not grow with N.

    Tiles pass the samples of their rows and columns through the model again; products take a
    backward and a forward derivative (vjp, jvp) of the model, in chunks.
    """

    covers = "the exact kernel of the inputs and gradients as the passes leave them"

    def __init__(
        self,
        recipe: Recipe,
        rows: Inputs,
        cols: Inputs | None,
        names: Sequence[str] | None = None,
        agree: Agreed | None = None,
    ) -> None:
        self._recipe, self._rows, self._cols = recipe, rows, cols
        self._agree: Agreed = {} if agree is None else agree  # its terms' and transpose's too
        self.names = tuple(recipe.used if names is None else names)
        self.name = self.names[0] if len(self.names) == 1 else ""
        self.n_parameters = recipe.rank_bound
        self.labels, self.summed = recipe.labels, 1 if recipe.full else len(recipe.outputs)

    @property
    def shape(self) -> tuple[int, int]:
        left, right = self._sides
        return len(left[0]) * self._recipe.lead, len(right[0]) * self._recipe.lead

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
    def semidefinite(self) -> bool:
        return self.symmetric

    @property
    def terms(self) -> Sequence[Kernel]:
        if len(self.names) == 1:
            return (self,)
        return tuple(self._of([name]) for name in self.names)

    def _of_terms(self, places: Sequence[int]) -> LazyKernel:
        return self._of([self.names[i] for i in places])

    def _of(self, names: Sequence[str]) -> LazyKernel:
        return LazyKernel(self._recipe, self._rows, self._cols, names, self._agree)

    @property
    def nbytes_factors(self) -> int:
        """None are held; the inputs are."""
        parts = [*self._rows, *(self._cols or ())]
        return sum(t.numel() * t.element_size() for t in parts)

    @property
    def panel(self) -> int:
        """Samples whose factors are held at a time, on each side of a tile."""
        recipe = self._recipe
        each = numbers_held(recipe.survey, len(recipe.outputs))
        copies = 4.0 * (2.0 if recipe.full else 1.0)  # two sides, and room to contract them
        nbytes = copies * each * self.dtype.itemsize
        by_factors = int(recipe.limit / 2 / max(1.0, nbytes))
        by_tile = int(math.sqrt(recipe.limit / 8 / self.dtype.itemsize) / recipe.lead)
        return max(1, min(by_factors, by_tile))

    def __repr__(self) -> str:
        return (
            f"LazyKernel(shape={self.shape}, dtype={self.dtype}, {len(self.names)} terms, "
            f"{self.panel} samples at a time)"
        )

    @property
    def T(self) -> LazyKernel:
        if self._cols is None:
            return self
        return LazyKernel(self._recipe, self._cols, self._rows, self.names, self._agree)

    @property
    def _sides(self) -> tuple[Inputs, Inputs]:
        return self._rows, self._rows if self._cols is None else self._cols

    def _made(
        self, rows: Inputs, cols: Inputs | None, checked: tuple[bool, bool] = (True, True)
    ) -> Kernel:
        """Of some samples; ``checked``: whether the passes of the rows and the columns are, once is enough."""
        return self._recipe.kernel(rows, cols, self.names, checked)

    def for_samples(self, rows: Tensor, cols: Tensor) -> Kernel:
        """The held kernel of a few samples, for checks."""
        left, right = self._sides
        return self._made(take(left, rows), take(right, cols))

    def tile(self, rows: Index, cols: Index) -> Tensor:
        lead, sides, keep = self._recipe.lead, [], []
        for index, size, inputs in zip((rows, cols), self.shape, self._sides, strict=True):
            samples, where = samples_of(place(index, size, self.device), lead)
            sides.append(take(inputs, samples))
            keep.append(where)
        left, right = sides
        shape = len(left[0]) * lead, len(right[0]) * lead
        out = torch.empty(shape, dtype=self.dtype, device=self.device)
        for i, block in self._blocks(len(left[0])):
            part = take(left, block)
            for j, other in self._blocks(len(right[0])):
                made = self._made(part, take(right, other), (j == 0, i == 0)).dense()
                out[i : i + len(made), j : j + made.shape[1]] = made
        return out[keep[0]][:, keep[1]]

    def _blocks(self, n: int) -> Iterator[tuple[int, slice]]:
        """Panels of n samples, each with the first of its rows in the kernel."""
        for i in range(0, n, self.panel):
            yield i * self._recipe.lead, slice(i, min(i + self.panel, n))

    def _require_memory(self) -> None:
        limit = self._recipe.limit / 2 if self._recipe.strict else None
        require_within(self.nbytes_dense, f"forming the {self.shape} kernel", limit)

    def _fill(self, out: Tensor) -> None:
        left, right = self._sides
        for i, block in self._blocks(len(left[0])):
            part = take(left, block)
            for j, other in self._blocks(len(right[0])):
                if self.symmetric and j < i:
                    continue
                same = self.symmetric and i == j
                new = (same, False) if self.symmetric else (j == 0, i == 0)
                made = self._made(part, None if same else take(right, other), new).dense()
                out[i : i + len(made), j : j + made.shape[1]] = made
                if self.symmetric and not same:
                    out[j : j + made.shape[1], i : i + len(made)] = made.T

    def _over_panels(
        self, inputs: Inputs, measure: Callable[[Kernel], Tensor | float]
    ) -> list[Tensor | float]:
        """Of the symmetric kernel of each panel of ``inputs``."""
        return [
            measure(self._made(take(inputs, block), None))
            for _, block in self._blocks(len(inputs[0]))
        ]

    def _diagonal(self) -> Tensor:
        parts = self._over_panels(self._rows, lambda kernel: kernel.diagonal())
        return torch.cat([torch.as_tensor(part) for part in parts])

    def forming_error(self) -> float:
        """As of the kernel that this stands for: the panels' bounds add up, being traces."""
        self._require_symmetric("forming error")
        return float(sum(self._over_panels(self._rows, lambda kernel: kernel.forming_error())))

    def entry_error(self) -> float:
        """The largest of the panels on the diagonal: an entry's bound is made of its two rows'."""
        sides = (self._rows,) if self._cols is None else (self._rows, self._cols)
        errors = [self._over_panels(side, lambda kernel: kernel.entry_error()) for side in sides]
        return float(max(max(each) for each in errors))

    def matmul(self, V: Tensor) -> Tensor:
        recipe = self._recipe
        if recipe.loop:
            return self._by_rows(V)
        return self._source.apply(self.names, V, recipe.chunk)

    @cached_property
    def _source(self) -> General:
        recipe = self._recipe
        return General(
            recipe.subject, self._sides, recipe.outputs, recipe.full, True, "", recipe.budget,
            checked=recipe.options.self_check, agree=self._agree,
        )  # fmt: skip

    def _by_rows(self, V: Tensor) -> Tensor:
        step = self.panel * self._recipe.lead
        parts = [
            self.tile(slice(i, i + step), slice(None)) @ V for i in range(0, self.shape[0], step)
        ]
        return torch.cat(parts)
