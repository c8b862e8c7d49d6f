"""The terms of a module's kernel that are no Hadamard product of two Grams.

A :class:`WeightBlock` holds the inputs and output gradients of the layers that share one parameter
(a convolution, a linear layer on sequences, an embedding, a matrix used twice) and contracts them
on demand, either through per-sample gradients, a slice of the parameter at a time, or pair by pair
of positions, whichever takes fewer flops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import Factor
from ntkscope.kernels.module.holding.compress import LEFT_OUT
from ntkscope.kernels.module.reading.operations import Operation

Index = slice | Tensor

_CACHED = 1 << 20  # numbers that a contraction writes before it multiplies them


@dataclass(frozen=True, eq=False)
class Use:
    """One operation with what it holds for the rows and the columns of the kernel."""

    operation: Operation
    x: tuple[Tensor, Tensor]
    g: tuple[Tensor, Tensor]

    def samples(self, side: int, index: Index) -> tuple[Tensor, Tensor]:
        return self.x[side][index], self.g[side][index]


def _tensors(uses: tuple[Use, ...]) -> list[Tensor]:
    return [t for u in uses for t in (*u.x, *u.g)]


@dataclass(frozen=True, eq=False)
class WeightBlock:
    """Σ_c ⟨∂f_c(x_i)/∂W, ∂f_c(x_j)/∂W⟩ for one parameter W of shape ``parameter``.

    ``full`` keeps the pairs of outputs apart: (N·C, M·C), the output index fastest. ``budget`` is
    what a contraction may take in bytes beyond its result. ``held`` keeps what was computed once:
    the diagonals, the magnitude, and the whole block where :meth:`add_dense` was told to.
    """

    name: str
    uses: tuple[Use, ...]
    parameter: tuple[int, ...]
    full: bool
    budget: float
    scale: float = 1.0
    rotated: int = (
        0  # outputs that the signals had before they were summed up, 0 for untouched ones
    )

    held: dict[str, Tensor] = field(default_factory=dict, repr=False)

    # a block has no Gram factors of its own
    features: Factor | None = None
    signals: Factor | None = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        return ()

    @property
    def samples(self) -> tuple[int, int]:
        """N, M."""
        first = self.uses[0].g
        return len(first[0]), len(first[1])

    @property
    def n_outputs(self) -> int:
        return int(self.uses[0].g[0].shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        C = self.n_outputs if self.full else 1
        return self.samples[0] * C, self.samples[1] * C

    @property
    def symmetric(self) -> bool:
        return all(u.g[0] is u.g[1] for u in self.uses)

    @property
    def dtype(self) -> torch.dtype:
        return self.uses[0].g[0].dtype

    @property
    def device(self) -> torch.device:
        return self.uses[0].g[0].device

    @property
    def tensors(self) -> list[Tensor]:
        return _tensors(self.uses)

    @property
    def inner(self) -> int:
        """The length of the sums behind an entry: positions twice, then parameters and outputs."""
        positions = sum(2 * u.g[0][0, 0].numel() for u in self.uses)
        outputs = 1 if self.full else self.n_outputs
        # a rotation rounds its sums over the outputs on both sides, and leaves a little out
        turned = (2 + LEFT_OUT) * self.rotated
        return positions + outputs * math.prod(self.parameter) + turned

    @property
    def method(self) -> str:
        """``"pairs"`` or ``"gradients"``, as :meth:`dense` would choose."""
        return "pairs" if self._pairs_are_cheaper(*self.samples) else "gradients"

    def flops(self) -> float:
        """Of :meth:`dense`, the symmetric half counted once."""
        n, m = self.samples
        share = 0.5 if self.symmetric else 1.0
        by_pairs = share * n * m * self._pair_flops()
        return min(by_pairs, self._gradient_flops(n, m) * share + self._forming_flops(n, m))

    def to(
        self, dtype: torch.dtype | None, device: torch.device | str | None,
        moved: dict[int, Tensor],
    ) -> WeightBlock:  # fmt: skip
        def move(tensor: Tensor) -> Tensor:
            if id(tensor) not in moved:
                kind = dtype if tensor.is_floating_point() else None
                moved[id(tensor)] = tensor.to(device=device, dtype=kind)
            return moved[id(tensor)]

        uses = tuple(
            Use(u.operation, (move(u.x[0]), move(u.x[1])), (move(u.g[0]), move(u.g[1])))
            for u in self.uses
        )
        same = all(a is b for a, b in zip(self.tensors, _tensors(uses), strict=True))
        return self if same else replace(self, uses=uses, held={})

    @property
    def T(self) -> WeightBlock:
        uses = tuple(Use(u.operation, u.x[::-1], u.g[::-1]) for u in self.uses)
        return replace(self, uses=uses, held={})

    def tile(self, rows: Index, cols: Index) -> Tensor:
        """K[rows, cols]."""
        if "dense" in self.held:
            return self.held["dense"][rows][:, cols]
        left, keep_rows = self._to_samples(rows, self.samples[0])
        right, keep_cols = self._to_samples(cols, self.samples[1])
        n, m = (_length(i, N) for i, N in zip((left, right), self.samples, strict=True))
        C = self.n_outputs if self.full else 1
        out = torch.zeros(n * C, m * C, dtype=self.dtype, device=self.device)
        self._add(out, left, right)
        return out if not self.full else out[keep_rows][:, keep_cols]

    def add_dense(self, out: Tensor, keep: bool = False) -> None:
        """Add the block to ``out``; ``keep`` holds on to it for the next time."""
        if "dense" not in self.held:
            N, M = self.samples
            made = torch.zeros_like(out) if keep else out
            self._add(made, slice(0, N), slice(0, M), upper=self.symmetric)
            if not keep:
                return
            if self.symmetric:
                mirror(made)
            self.held["dense"] = made
        out += self.held["dense"]

    def _to_samples(self, index: Index, n: int) -> tuple[Index, Index]:
        """The samples that hold the rows ``index``, and where those rows are among theirs."""
        if not self.full:
            return index, slice(None)
        C = self.n_outputs
        if isinstance(index, slice):
            index = torch.arange(*index.indices(n * C), device=self.device)
        elif index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        samples, place = torch.unique(index // C, return_inverse=True)
        return samples, place * C + index % C

    def _add(self, out: Tensor, left: Index, right: Index, upper: bool = False) -> None:
        rows = [u.samples(0, left) for u in self.uses]
        cols = rows if upper else [u.samples(1, right) for u in self.uses]
        n, m = len(rows[0][1]), len(cols[0][1])
        if self._pairs_are_cheaper(n, m):
            self._add_pairs(out, rows, cols, upper)
        elif len(self.uses) == 1 and not self.full and self.uses[0].operation.is_outer:
            self._add_outer(out, rows[0], cols[0], upper)
        else:
            self._add_gradients(out, rows, cols, upper)

    # --- through per-sample gradients -----------------------------------------------------------

    def _add_outer(
        self,
        out: Tensor,
        rows: tuple[Tensor, Tensor],
        cols: tuple[Tensor, Tensor],
        upper: bool,
    ) -> None:
        """Gradients Σ_t g_t a_tᵀ, summed over the outputs: some rows (output, unit) at a time.

        They are written into the same few MB again and again: fresh memory costs more than the
        product that fills it.
        """
        operation = self.uses[0].operation
        left_pairs = operation.pairs(*rows)
        right_pairs = left_pairs if upper else operation.pairs(*cols)
        assert left_pairs is not None
        assert right_pairs is not None
        for a, g, b, h in zip(*left_pairs, *right_pairs, strict=True):
            left, right = (a, _rows_last(g)), (b, _rows_last(h))
            n, m, p, units = len(a), len(b), a.shape[2], left[1].shape[2]
            step, width = outer_slices(max(n, m), p, units, self.budget / self.dtype.itemsize)
            pads = [a.new_empty(min(step, k) * width * p) for k in ((n,) if upper and n <= step else (n, m))]  # fmt: skip
            for start in range(0, units, width):
                part = slice(start, min(start + width, units))
                for i in range(0, n, step):
                    own = _outer(left, slice(i, i + step), part, pads[0])
                    for j in range(i if upper else 0, m, step):
                        block = out[i : i + step, j : j + step]
                        if upper and j == i:
                            _add_upper(block, own, own)
                        else:
                            other = _outer(right, slice(j, j + step), part, pads[1])
                            block.addmm_(own, other.T)

    def _add_gradients(
        self,
        out: Tensor,
        rows: list[tuple[Tensor, Tensor]],
        cols: list[tuple[Tensor, Tensor]],
        upper: bool,
    ) -> None:
        n, m = len(rows[0][1]), len(cols[0][1])
        lead = self.n_outputs if self.full else 1
        step, parts = self._slices(n + (0 if upper else m))
        for part in parts:
            for i in range(0, n, step):
                left = self._gradients(rows, slice(i, min(i + step, n)), part)
                for j in range(i if upper else 0, m, step):
                    same = upper and j == i
                    right = (
                        left if same else self._gradients(cols, slice(j, min(j + step, m)), part)
                    )
                    block = out[i * lead : i * lead + len(left), j * lead : j * lead + len(right)]
                    if same:
                        _add_upper(block, left, right)
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

    def _gradients(self, held: list[tuple[Tensor, Tensor]], index: slice, part: slice) -> Tensor:
        """(n, C·P′), or (n·C, P′) for "full": rows ``part`` of the parameter."""
        total: Tensor | None = None
        for use, (x, g) in zip(self.uses, held, strict=True):
            made = use.operation.gradient(x[index], g[index], part)
            total = made if total is None else total + made
        assert total is not None
        return total.flatten(0, 1) if self.full else total.flatten(1)

    def _forming_flops(self, n: int, m: int) -> float:
        size = math.prod(self.parameter)
        per_sample = sum(u.operation.forming_flops(u.g[0], size) for u in self.uses)
        return (n if self.symmetric else n + m) * per_sample

    def _gradient_flops(self, n: int, m: int) -> float:
        pairs = self.n_outputs**2 if self.full else self.n_outputs
        return 2.0 * n * m * pairs * math.prod(self.parameter)

    # --- pair by pair of positions ----------------------------------------------------------------

    def _pair_flops(self) -> float:
        if len(self.uses) != 1:
            return math.inf
        (use,) = self.uses
        flops = use.operation.pair_flops(use.x[0], use.g[0])
        return flops * (self.n_outputs**2 if self.full else 1)

    def _pairs_are_cheaper(self, n: int, m: int) -> bool:
        by_gradients = self._gradient_flops(n, m) + self._forming_flops(n, m)
        return n * m * self._pair_flops() < by_gradients

    def _add_pairs(
        self,
        out: Tensor,
        rows: list[tuple[Tensor, Tensor]],
        cols: list[tuple[Tensor, Tensor]],
        upper: bool,
    ) -> None:
        (use,) = self.uses
        operation = use.operation
        left_pairs = operation.pairs(*rows[0])
        right_pairs = left_pairs if upper else operation.pairs(*cols[0])
        assert left_pairs is not None
        assert right_pairs is not None
        lead = self.n_outputs if self.full else 1
        for a, g, b, h in zip(*left_pairs, *right_pairs, strict=True):
            T = a.shape[1]
            step = max(1, int(math.sqrt(self.budget / (3 * self.dtype.itemsize)) / (T * lead)))
            for i in range(0, len(a), step):
                for j in range(i if upper else 0, len(b), step):
                    part = self._pair_tile(
                        operation,
                        a[i : i + step],
                        g[i : i + step],
                        b[j : j + step],
                        h[j : j + step],
                    )
                    r, c = part.shape
                    out[i * lead : i * lead + r, j * lead : j * lead + c] += part

    def _pair_tile(
        self, operation: Operation, a: Tensor, g: Tensor, b: Tensor, h: Tensor
    ) -> Tensor:
        n, T, p = a.shape
        m, S, _ = b.shape
        C, D, q = g.shape[1], h.shape[1], g.shape[3]
        inputs = operation.agreement(a.reshape(n * T, p), b.reshape(m * S, p), g.dtype)
        if self.full:
            signals = g.reshape(n * C * T, q) @ h.reshape(m * D * S, q).T
            both = signals.view(n, C, T, m, D, S) * inputs.view(n, 1, T, m, 1, S)
            return both.sum(dim=(2, 5)).reshape(n * C, m * D)
        left = g.transpose(1, 2).reshape(n * T, C * q)
        right = h.transpose(1, 2).reshape(m * S, C * q)
        signals = left @ right.T
        return signals.mul_(inputs).view(n, T, m, S).sum(dim=3).sum(dim=1)

    # --- diagonal, products -------------------------------------------------------------------------

    def diagonal(self) -> Tensor:
        """K_ii, computed once."""
        if "dense" in self.held:
            return self.held["dense"].diagonal()
        if "diagonal" not in self.held:
            total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
            for part in self._slices(self.samples[0])[1]:
                for rows, gradients in self._panels(0, part):
                    total[rows] += torch.linalg.vecdot(gradients, gradients)
            self.held["diagonal"] = total
        return self.held["diagonal"]

    def magnitude(self) -> float:
        """Σ_i (Σ_t ‖x_it‖ ‖g_it‖)² over samples and outputs: what rounding can act on.

        At least the trace, and more where the positions' contributions cancel.
        """
        if "magnitude" not in self.held:
            total: Tensor | float = 0.0
            for use in self.uses:
                total = total + use.operation.magnitude(use.x[0], use.g[0])
            assert isinstance(total, Tensor)
            self.held["magnitude"] = total.square().sum()
        return float(self.held["magnitude"])

    def apply(self, V: Tensor) -> Tensor:
        """K V for V: (M, k), a slice of the parameter at a time."""
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
        lead = self.n_outputs if self.full else 1
        step = self._slices(max(self.samples))[0]
        for i in range(0, self.samples[side], step):
            held = [u.samples(side, slice(i, i + step)) for u in self.uses]
            made = self._gradients(held, slice(None), part)
            yield slice(i * lead, i * lead + len(made)), made


def mirror(out: Tensor) -> None:
    """Copy the upper triangle onto the lower, in blocks."""
    step = 1024
    N = len(out)
    for i in range(0, N, step):
        block = out[i : i + step, i : i + step]
        block.copy_(torch.triu(block) + torch.triu(block, 1).T)
        for j in range(i + step, N, step):
            out[j : j + step, i : i + step] = out[i : i + step, j : j + step].T


def outer_slices(n: int, p: int, units: int, budget: float) -> tuple[int, int]:
    """Samples and units at a time whose gradients, p numbers a unit, fill at most ``budget`` / 4.

    Within the budget, about what a core's cache holds: the product then reads them from there.
    """
    most = max(1, int(min(budget / 4, _CACHED)))
    step = min(n, 1024)
    width = min(units, most // (step * p))
    if width < min(8, units):
        width = max(1, min(8, units, most // p))
        step = max(1, min(step, most // (width * p)))
    return step, width


def _rows_last(g: Tensor) -> Tensor:
    """(n, C, T, q) as (n, T, C·q), without a copy where the positions lie outermost."""
    return g.transpose(1, 2).flatten(2)


def _outer(side: tuple[Tensor, Tensor], index: slice, units: slice, pad: Tensor) -> Tensor:
    """(n, units·p): Σ_t g_t a_tᵀ of some samples and units, in the memory of ``pad``."""
    a, g = side[0][index], side[1][index, :, units]
    n, width, p = len(a), g.shape[2], a.shape[2]
    made = pad[: n * width * p].view(n, width, p)
    torch.bmm(g.transpose(1, 2), a, out=made)
    return made.view(n, width * p)


def _add_upper(block: Tensor, left: Tensor, right: Tensor) -> None:
    """block += left rightᵀ in its upper panels, eight of them: the rest is mirrored later."""
    n = len(block)
    step = max(64, -(-n // 8))
    for i in range(0, n, step):
        block[i : i + step, i:].addmm_(left[i : i + step], right[i:].T)


def _length(index: Index, n: int) -> int:
    if isinstance(index, slice):
        return len(range(*index.indices(n)))
    return int(index.sum()) if index.dtype == torch.bool else len(index)
