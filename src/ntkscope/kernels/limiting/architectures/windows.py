"""Sums over the windows of convolutions, of covariances and of variances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ntkscope.kernels.limiting.architectures.compiled import compiled


@dataclass(frozen=True)
class Window:
    """A convolution's window along one position axis: Σ_k x[s·q + k·dilation − before]."""

    axis: int
    size: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def moves(self) -> bool:
        """Whether the output is not the input."""
        return self.size > 1 or self.stride > 1 or self.before > 0 or self.after > 0

    def length(self, inside: int) -> int:
        """Positions of the output, of ``inside`` of the input."""
        reach = self.dilation * (self.size - 1) + 1
        return (inside + self.before + self.after - reach) // self.stride + 1

    @lru_cache(maxsize=64)  # noqa: B019, windows are values
    def offsets(self, inside: int) -> tuple[tuple[int, int, int], ...]:
        """(offset, first, last + 1 of the output's positions that it keeps inside).

        The offset that moves least comes first.
        """
        found = []
        for offset in sorted((k * self.dilation - self.before for k in range(self.size)), key=abs):
            low = max(0, -(offset // self.stride))
            high = min(self.length(inside), (inside - 1 - offset) // self.stride + 1)
            if low < high:
                found.append((offset, low, high))
        return tuple(found)

    @lru_cache(maxsize=64)  # noqa: B019, windows are values
    def matrix(self, inside: int) -> Tensor:
        """The sums over the window along an axis of ``inside`` positions, (out, in)."""
        unit = torch.eye(inside, dtype=torch.float64)
        made = unit.new_zeros(self.length(inside), inside)
        for offset in self.offsets(inside):
            _part(made, (0,), *offset[1:]).add_(self._moved(unit, (0,), offset))
        return made

    def single(self, x: Tensor) -> Tensor:
        """The sums along the one dimension that the axis has in ``x``."""
        matrix, shape, d = self.matrix(x.shape[self.axis]), x.shape, self.axis
        made = torch.matmul(matrix, x.reshape(math.prod(shape[:d]), shape[d], -1))
        return made.reshape(*shape[:d], len(matrix), *shape[d + 1 :])

    def pairs(self, x: Tensor, k: int, edges: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The sums over (p, p′) that one offset moves together, x (*P, n, *P, m, b) of k axes.

        edges: of D, halves of the variances (*P, n, 1, …) and (1, …, *P, m, b), which D is where
        one of both is outside the image.
        """
        if not self.moves:
            return x
        fused = compiled()
        if fused is not None and self.stride == 1:
            return self._in_one_pass(fused.window_sum, x, k, edges)
        out = self._summed(x, k)
        if edges is not None:
            self._add_edges(out, k, *edges)
        return out

    def _in_one_pass(
        self, window_sum: Callable[..., None], x: Tensor, k: int,
        edges: tuple[Tensor, Tensor] | None,
    ) -> Tensor:  # fmt: skip
        shape, left, right = x.shape, self.axis, k + 1 + self.axis
        inside, n = shape[left], self.length(shape[left])
        out = x.new_empty([n if d in (left, right) else s for d, s in enumerate(shape)])
        A, C = math.prod(shape[:left]), math.prod(shape[right + 1 :])
        if edges is None:
            rows, cols = x.new_empty(A, inside, 0, 1), x.new_empty(1, inside * C)
        else:
            rows = edges[0].reshape(A, inside, -1, x.shape[-1])
            cols = edges[1].reshape(-1, inside * C)
        window_sum(
            x.contiguous().view(A, inside, -1, inside * C).numpy(),
            np.array(self.offsets(inside), dtype=np.int64).reshape(-1, 3), C, rows.numpy(),
            cols.numpy(), out.view(A, n, -1, n * C).numpy(),
        )  # fmt: skip
        return out

    def _summed(self, x: Tensor, k: int) -> Tensor:
        dims = (self.axis, k + 1 + self.axis)
        inside, offsets = x.shape[self.axis], self.offsets(x.shape[self.axis])
        n = self.length(inside)
        shape = [n if d in dims else s for d, s in enumerate(x.shape)]
        if not offsets or offsets[0][1:] != (0, n):
            out, rest = x.new_zeros(shape), offsets
        elif len(offsets) == 1:
            return self._moved(x, dims, offsets[0]).clone()
        else:  # two offsets fill the result, the first alone where the second leaves
            out, rest = x.new_empty(shape), offsets[2:]
            (first, _, _), (_, low, high) = offsets[:2]
            inner = self._moved(x, dims, (first, low, high))
            torch.add(inner, self._moved(x, dims, offsets[1]), out=_part(out, dims, low, high))
            for where in _frame(low, high, n):
                source = x
                target = out
                for d, (a, b) in zip(dims, where, strict=True):
                    source = self._moved(source, (d,), (first, a, b))
                    target = _part(target, (d,), a, b)
                target.copy_(source)
        for offset in rest:
            _part(out, dims, *offset[1:]).add_(self._moved(x, dims, offset))
        return out

    def _add_edges(self, x: Tensor, k: int, rows: Tensor, cols: Tensor) -> None:
        """Add to the sums ``x`` of D what an offset moves to pairs of which one is outside."""
        left, right = self.axis, k + 1 + self.axis
        n = x.shape[left]
        for offset in self.offsets(rows.shape[left]):
            _, low, high = offset
            for out in ((0, low), (high, n)):
                if out[0] < out[1]:
                    for inside, outside, halves in ((left, right, rows), (right, left, cols)):
                        edge = _part(_part(x, (inside,), low, high), (outside,), *out)
                        edge += self._moved(halves, (inside,), offset)

    def _moved(self, x: Tensor, dims: tuple[int, ...], offset: tuple[int, int, int]) -> Tensor:
        """What the output's positions low … high read at an offset, given with them."""
        move, low, high = offset
        start = low * self.stride + move
        return _part(x, dims, start, start + (high - low - 1) * self.stride + 1, self.stride)


def _part(x: Tensor, dims: tuple[int, ...], start: int, stop: int, step: int = 1) -> Tensor:
    """The view of x from ``start`` to ``stop`` along each of ``dims``."""
    where = [slice(None)] * (max(dims) + 1)
    for d in dims:
        where[d] = slice(start, stop, step)
    return x[tuple(where)]


def _frame(low: int, high: int, n: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The square of n places without that from ``low`` to ``high``, as rectangles."""
    outside = [(a, b) for a, b in ((0, low), (high, n)) if a < b]
    return [(a, (0, n)) for a in outside] + [((low, high), a) for a in outside]
