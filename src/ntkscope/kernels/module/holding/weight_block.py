"""The term of a parameter whose gradient is a sum over positions, held as inputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from torch import Tensor

from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.module.holding.compress import LEFT_OUT
from ntkscope.kernels.module.holding.contract import (
    Seen,
    add_outer_products,
    add_position_pairs,
)
from ntkscope.kernels.module.holding.conversions import converted
from ntkscope.kernels.module.holding.equal_rows import add_equal_rows
from ntkscope.kernels.module.holding.magnitudes import RoundedByMagnitudes
from ntkscope.kernels.module.holding.rows import samples_of
from ntkscope.kernels.module.holding.triangle import add_upper, mirror
from ntkscope.kernels.module.holding.use import Side, Use
from ntkscope.kernels.module.reading.layers.embedding import Lookup
from ntkscope.kernels.module.reading.layers.layer import Operation, Pairs


class Way(StrEnum):
    """How a block is contracted, whichever takes fewer flops."""

    GRADIENTS = "gradients"  # per-sample gradients, a slice of the parameter at a time
    PAIRS = "pairs"  # pair by pair of positions, of a table's those that read the same row


@dataclass(frozen=True, eq=False, repr=False)
class WeightBlock(RoundedByMagnitudes):
    """Σ_c ⟨∂f_c(x_i)/∂W, ∂f_c(x_j)/∂W⟩ for one parameter W of shape ``parameter``.

    It holds the inputs and output gradients of the layers that share W (a convolution, a linear
    layer on sequences, an embedding, a matrix used twice). ``full`` keeps the pairs of outputs
    apart: (N·C, M·C), the output index fastest. ``budget`` is what a contraction may take in bytes
    beyond its result. ``rotated``: outputs that the signals had before they were summed up, 0 for
    untouched ones. ``held`` keeps what was computed once: the diagonal, the magnitudes, and the
    block where the :meth:`whole` was asked for.
    """

    name: str = field()
    uses: tuple[Use, ...]
    parameter: tuple[int, ...]
    full: bool
    budget: float
    rotated: int = 0
    held: dict[str, Tensor] = field(default_factory=dict)

    covers = "the exact kernel of the held inputs and gradients"

    @property
    def samples(self) -> tuple[int, int]:
        """N, M."""
        rows, cols = self.uses[0].g
        return len(rows), len(cols)

    @property
    def n_outputs(self) -> int:
        return int(self.uses[0].g[0].shape[1])

    @property
    def lead(self) -> int:
        """Rows of the kernel for one sample."""
        return self.n_outputs if self.full else 1

    @property
    def shape(self) -> tuple[int, int]:
        N, M = self.samples
        return N * self.lead, M * self.lead

    @property
    def symmetric(self) -> bool:
        return all(u.g[0] is u.g[1] for u in self.uses)

    @property
    def semidefinite(self) -> bool:
        return self.symmetric

    @property
    def dtype(self) -> torch.dtype:
        return self.uses[0].g[0].dtype

    @property
    def device(self) -> torch.device:
        return self.uses[0].g[0].device

    @property
    def tensors(self) -> list[Tensor]:
        return [t for u in self.uses for t in u.tensors]

    # --- other forms ------------------------------------------------------------------------------

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> WeightBlock:
        return converted(self, dtype, device, lambda: self._moved(dtype, device))

    def _moved(self, dtype: torch.dtype | None, device: torch.device | str | None) -> WeightBlock:
        moved: dict[int, Tensor] = {}
        for tensor in self.tensors:
            kind = dtype if tensor.is_floating_point() else None
            if id(tensor) not in moved:
                moved[id(tensor)] = tensor.to(device=device, dtype=kind)
        if all(moved[id(t)] is t for t in self.tensors):
            return self
        return self._with([Use(u.operation, *_paired(moved, u)) for u in self.uses])

    @property
    def T(self) -> WeightBlock:
        if self.symmetric:
            return self
        return self._with([Use(u.operation, u.x[::-1], u.g[::-1]) for u in self.uses])

    def side(self, which: int) -> WeightBlock:
        """The symmetric block of the rows (0) or the columns (1)."""
        if self.symmetric:
            return self
        return self._with(
            [Use(u.operation, (u.x[which],) * 2, (u.g[which],) * 2) for u in self.uses]
        )

    def _with(self, uses: Sequence[Use]) -> WeightBlock:
        return replace(self, uses=tuple(uses), held={})

    # --- what it costs ----------------------------------------------------------------------------

    def way(self, n: int, m: int) -> Way:
        """For the entries of n samples and m others."""
        by_gradients = self._gradient_flops(n, m) + self._forming_flops(n, m)
        return Way.PAIRS if n * m * self._pair_flops() < by_gradients else Way.GRADIENTS

    def flops(self) -> float:
        """Of :meth:`dense`, the symmetric half counted once."""
        n, m = self.samples
        share = 0.5 if self.symmetric else 1.0
        by_pairs = share * n * m * self._pair_flops()
        return min(by_pairs, self._gradient_flops(n, m) * share + self._forming_flops(n, m))

    def _forming_flops(self, n: int, m: int) -> float:
        size = math.prod(self.parameter)
        per_sample = sum(u.operation.forming_flops(u.g[0], size) for u in self.uses)
        return (n if self.symmetric else n + m) * per_sample

    def _gradient_flops(self, n: int, m: int) -> float:
        return 2.0 * n * m * self.n_outputs * self.lead * math.prod(self.parameter)

    def _pair_flops(self) -> float:
        if len(self.uses) != 1:
            return math.inf
        (use,) = self.uses
        return (
            use.operation.pair_flops(use.x[0], use.g[0])
            * self.lead
            * (self.n_outputs if self.full else 1)
        )

    @property
    def scratch(self) -> float:
        """Bytes that forming it takes beyond its result: the budget, patches of all samples, and signals in order."""
        taken = self.budget
        for use in self.uses:
            if not use.operation.by_vectors:
                g = use.g[0]
                patches = use.operation.scratch(g[0, 0].numel(), self.parameter)
                taken += self.dtype.itemsize * (len(g) * patches + g.numel())
        return taken if self.symmetric else 2 * taken

    # --- entries ----------------------------------------------------------------------------------

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, n, self.device) for i, n in zip((rows, cols), self.shape, strict=True))
        if "dense" in self.held:
            return self.held["dense"][r][:, c].clone()
        (left, keep_rows), (right, keep_cols) = (samples_of(i, self.lead) for i in (r, c))
        shape = count(left) * self.lead, count(right) * self.lead
        out = torch.zeros(shape, dtype=self.dtype, device=self.device)
        if out.numel():
            self._add(out, left, right)
        return out[keep_rows][:, keep_cols]

    def _fill(self, out: Tensor) -> None:
        out.zero_()
        self.add_dense(out)
        if self.symmetric:
            mirror(out)

    def whole(self) -> Tensor:
        """The block, which is held from now on."""
        if "dense" not in self.held:
            made = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
            self.add_dense(made)
            if self.symmetric:
                mirror(made)
            self.held["dense"] = made
        return self.held["dense"]

    def add_dense(self, out: Tensor, seen: Seen | None = None) -> None:
        """Add the block to ``out``, of a symmetric one at least the upper triangle.

        ``seen`` is shown the gradients of the rows as they are formed, where :attr:`shows`.
        """
        if "dense" in self.held:
            out += self.held["dense"]
        else:
            N, M = self.samples
            self._add(out, slice(0, N), slice(0, M), self.symmetric, seen)

    def _add(
        self,
        out: Tensor,
        left: slice | Tensor,
        right: slice | Tensor,
        upper: bool = False,
        seen: Seen | None = None,
    ) -> None:
        rows = [u.samples(0, left) for u in self.uses]
        cols = rows if upper else [u.samples(1, right) for u in self.uses]
        operation = self.uses[0].operation
        pairs = self.way(len(rows[0][1]), len(cols[0][1])) is Way.PAIRS
        if not pairs and (len(self.uses) > 1 or self.full or not operation.is_outer):
            self._add_gradients(out, rows, cols, upper, seen)
            return
        if pairs and isinstance(operation, Lookup):
            add_equal_rows(out, rows[0], cols[0], operation.padding, self.full, self.budget)
            return
        ours = _pairs(operation, rows[0])
        theirs = ours if upper else _pairs(operation, cols[0])
        if pairs:
            add_position_pairs(out, ours, theirs, self.full, self.budget, upper)
        else:
            add_outer_products(out, ours, theirs, self.budget, upper, seen)

    @property
    def shows(self) -> bool:
        """Whether forming it makes every gradient, its rows those of the parameter or of its transpose."""
        outer = len(self.uses) == 1 and self.uses[0].operation.is_outer
        own = not outer or self.uses[0].operation.by_vectors
        return own and self.n_outputs == 1 and self.way(*self.samples) is Way.GRADIENTS

    def _add_gradients(
        self,
        out: Tensor,
        rows: list[Side],
        cols: list[Side],
        upper: bool,
        seen: Seen | None = None,
    ) -> None:
        """Through per-sample gradients, a slice of the parameter and some samples at a time."""
        n, m, lead = len(rows[0][1]), len(cols[0][1]), self.lead
        step, parts = self._slices(n + (0 if upper else m))
        for part in parts:
            for i in range(0, n, step):
                left = self._gradients(rows, slice(i, i + step), part)
                if seen is not None:
                    seen(slice(i, i + len(left)), part, left)
                for j in range(i if upper else 0, m, step):
                    same = upper and j == i
                    right = left if same else self._gradients(cols, slice(j, j + step), part)
                    block = out[i * lead : i * lead + len(left), j * lead : j * lead + len(right)]
                    if same:
                        add_upper(block, left, right)
                    else:
                        block.addmm_(left, right.T)

    def _slices(self, samples: int) -> tuple[int, list[slice]]:
        """Samples and rows of the parameter at a time, so that their gradients fit the budget."""
        first = self.parameter[0] if self.parameter else 1
        row = math.prod(self.parameter[1:]) * self.n_outputs * self.dtype.itemsize
        # the gradients and, while they are made, about as much again in patches and copies
        fitting = int(self.budget / 2 // max(1, row * samples))
        if fitting >= 1:
            step = min(first, fitting)
            return samples, [slice(a, min(a + step, first)) for a in range(0, first, step)]
        return max(1, int(self.budget / 4 // row)), [slice(a, a + 1) for a in range(first)]

    def _gradients(self, sides: list[Side], index: slice, part: slice) -> Tensor:
        """(n, C·P′), or (n·C, P′) for "full": rows ``part`` of the parameter."""
        total: Tensor | None = None
        for use, (x, g) in zip(self.uses, sides, strict=True):
            made = use.operation.gradient(x[index], g[index], part)
            total = made if total is None else total + made
        assert total is not None
        return total.flatten(0, 1) if self.full else total.flatten(1)

    # --- diagonal, products -----------------------------------------------------------------------

    def _diagonal(self) -> Tensor:
        if "dense" in self.held:
            return self.held["dense"].diagonal().clone()
        if "diagonal" not in self.held:
            total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
            for part in self._slices(self.samples[0])[1]:
                for rows, gradients in self._panels(0, part):
                    total[rows] += torch.linalg.vecdot(gradients, gradients)
            self.held["diagonal"] = total
        return self.held["diagonal"].clone()

    def matmul(self, V: Tensor) -> Tensor:
        """A slice of the parameter at a time."""
        if "dense" in self.held:
            return self.held["dense"] @ V
        out = torch.zeros(self.shape[0], V.shape[1], dtype=self.dtype, device=self.device)
        for part in self._slices(max(self.samples))[1]:
            core: Tensor | None = None
            for rows, gradients in self._panels(1, part):
                made = gradients.T @ V[rows]
                core = made if core is None else core + made
            assert core is not None
            for rows, gradients in self._panels(0, part):
                out[rows] += gradients @ core
        return out

    def _panels(self, side: int, part: slice) -> Iterator[tuple[slice, Tensor]]:
        """Rows ``part`` of the parameter's gradient, for as many samples at a time as fit."""
        step = self._slices(max(self.samples))[0]
        for i in range(0, self.samples[side], step):
            sides = [u.samples(side, slice(i, i + step)) for u in self.uses]
            made = self._gradients(sides, slice(None), part)
            yield slice(i * self.lead, i * self.lead + len(made)), made

    # --- rounding ---------------------------------------------------------------------------------

    @property
    def inner(self) -> int:
        """The length of the sums behind an entry: positions twice, then parameters and outputs."""
        positions = sum(2 * u.g[0][0, 0].numel() for u in self.uses)
        outputs = 1 if self.full else self.n_outputs
        # a rotation rounds its sums over the outputs on both sides, and leaves a little out
        turned = (2 + LEFT_OUT) * self.rotated
        return positions + outputs * math.prod(self.parameter) + turned

    def magnitudes(self) -> Tensor:
        """(N·lead,): Σ_c (Σ_t ‖x_t‖ ‖g_ct‖)² of each row, what rounding can act on.

        At least K_ii, and more where the positions' contributions cancel. Of a symmetric block.
        """
        if "magnitudes" not in self.held:
            totals = sum(u.operation.magnitude(u.x[0], u.g[0]) for u in self.uses)
            assert isinstance(totals, Tensor)
            squares = totals.square()
            self.held["magnitudes"] = squares.flatten() if self.full else squares.sum(dim=1)
        return self.held["magnitudes"]


def _pairs(operation: Operation, side: Side) -> Pairs:
    pairs = operation.pairs(*side)
    assert pairs is not None  # the way was chosen for having them
    return pairs


def _paired(moved: dict[int, Tensor], use: Use) -> tuple[Side, Side]:
    x, g = ((moved[id(a)], moved[id(b)]) for a, b in (use.x, use.g))
    return x, g
