"""Where the graph begins: data, as the model's own code hands them to its first weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.limiting.architectures.operation import (
    Error,
    Operation,
    Passed,
    Seen,
    State,
    U,
)
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.directions import NEAR

_DIRECT = 8  # channels up to which every distance is a sum of squared differences
_LISTED = 1 << 21  # entries of gathered differences that are held at once


@dataclass(frozen=True, eq=False)
class Entry(Operation):
    """S[p, p′] = Σ_c x_c[p] x′_c[p′]/c, T = 0. ``number`` is its place among the entries.

    tokens: whole numbers, for an embedding: D is 1 where they differ, V = 1.
    """

    number: int
    channels: int
    tokens: bool = False
    kind = "data"

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del inputs
        x = entries[self.number]
        if self.tokens:
            return torch.ones(x.shape[1:], dtype=torch.float64)
        return x.square().mean(0)

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        del inputs
        x, y = at.left.entries[self.number], at.right.entries[self.number]
        if self.tokens:
            return Passed((at.rows(x[0]) != at.cols(y[0])).to(torch.float64), None)
        if len(x) <= _DIRECT:
            total: Tensor | None = None
            for a, b in zip(x, y, strict=True):
                apart = at.rows(a) - at.cols(b)
                total = apart.square_() if total is None else total.addcmul_(apart, apart)
            assert total is not None
            return Passed(total, None, 0.5 / len(x))
        return Passed(self._by_products(x, y, at), None)

    def _by_products(self, x: Tensor, y: Tensor, at: Pairing) -> Tensor:
        """½(V + V′) − S by a matrix product, near pairs by differences."""
        c, k = len(x), x.ndim - 2
        flat_x, flat_y = x.reshape(c, -1, x.shape[-1]), y.reshape(c, -1, y.shape[-1])
        second = "q" if at.pairs else "p"
        if at.listed:
            equation = f"cpb,c{second}b->p{'q' if at.pairs else ''}b"
        else:
            equation = f"cpn,c{second}m->p{'nqm' if at.pairs else 'nm'}"
        inner = torch.einsum(equation, flat_x, flat_y).div_(c)
        rows = at.rows(self.variance([], at.left.entries))
        cols = at.cols(self.variance([], at.right.entries))
        distance = 0.5 * (rows + cols)
        shape = distance.shape
        distance -= inner.reshape(shape)
        near = torch.nonzero(distance < NEAR * torch.sqrt(rows * cols), as_tuple=True)
        places = near[:k], near[-2 - k : -2] if at.pairs else near[:k]
        p, q = (_ravel(w, x.shape[1:-1], near[-1]) for w in places)
        n = near[-1] if at.listed else near[k]
        m = near[-1] if at.listed else near[-2]
        values = torch.empty(len(n), dtype=distance.dtype)
        step = max(1, _LISTED // c)
        for i in range(0, len(n), step):
            s = slice(i, i + step)
            apart = flat_x[:, p[s], n[s]] - flat_y[:, q[s], m[s]]
            values[s] = apart.square().sum(0) * (0.5 / c)
        distance[near] = values
        return distance

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        """Sums of squared differences are relatively exact, a product's error is at most 1/NEAR of it."""
        del inputs, before, seen
        if self.tokens:
            return Error(0.0, 0.0, 0.0, 0.0)
        growth = 1.0 if self.channels <= _DIRECT else 1.0 / NEAR
        return Error(growth * (self.channels + 6) * U, 0.0, 0.0, 0.0)

    def describe(self) -> str:
        return "tokens" if self.tokens else "data"


def _ravel(places: tuple[Tensor, ...], sizes: tuple[int, ...], like: Tensor) -> Tensor:
    out = torch.zeros_like(like)
    for place, size in zip(places, sizes, strict=True):
        out = out * size + place
    return out
