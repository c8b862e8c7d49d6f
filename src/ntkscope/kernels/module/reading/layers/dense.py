"""Linear layers, on vectors and on sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.elementwise import Shift
from ntkscope.kernels.module.reading.layers.layer import (
    Operation,
    Pairs,
    Read,
    Used,
    Watched,
    pair_flops,
    reads,
)


@dataclass(frozen=True)
class Dense(Operation):
    """y = x Wᵀ (``transposed``: y = x W); x: (n, T, p), g: (n, C, T, q)."""

    transposed: bool
    heavy = is_outer = by_vectors = True

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C, T, _ = g.shape
        if self.transposed:  # W is (p, q): part selects inputs
            # (n, p, T) @ (n, C, T, q) → (n, C, p, q)
            left = x[:, :, part].transpose(1, 2)[:, None]
            return torch.matmul(left, g).reshape(n, C, -1)
        rows = g[..., part]
        stacked = rows.permute(0, 1, 3, 2).reshape(n, -1, T)  # (n, C·q′, T)
        return torch.bmm(stacked, x).reshape(n, C, -1)

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        return [x], [g]

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        _, C, T, q = g.shape
        return pair_flops(T, x.shape[2], C * q)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() * size / g.shape[3]

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        del folded, output
        return tensor.reshape(len(tensor), -1, tensor.shape[-1])

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape[-1:])  # a bias; positions are one axis now

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        return x[:-1] == out[:-1] and axis < len(out) - 1

    def on_transpose(self) -> Operation | None:
        return Dense(not self.transposed)

    def on_rows(self, start: int, total: int) -> Operation | None:
        return None if self.transposed else DenseRows(False, start, total)


@dataclass(frozen=True)
class DenseRows(Dense):
    """The same for some rows of a matrix of ``total``, those from ``start``: queries of a packed projection."""

    start: int
    total: int
    is_outer = whole = False

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        rows, end = range(self.total)[part], self.start + g.shape[3]
        low, high = max(rows.start, self.start), min(rows.stop, end)
        out = g.new_zeros(*g.shape[:2], len(rows), x.shape[2])
        if low < high:
            made = super().gradient(x, g, slice(low - self.start, high - self.start))
            own = slice(low - rows.start, high - rows.start)
            out[:, :, own] = made.unflatten(2, (high - low, -1))
        return out.flatten(2)

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        del x, g
        return math.inf  # used several times, as a rule

    def on_transpose(self) -> Operation | None:
        return None


@reads(F.linear, names="input weight bias", bias=None)
def _linear(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    del out
    used: Used = {}
    if watched(a["weight"]):
        used[a["weight"]] = Dense(transposed=False)
    if watched(a["bias"]):
        used[a["bias"]] = Shift(tuple(a["bias"].shape))
    return a["input"], used


@reads(torch.addmm, Tensor.addmm, names="input mat1 mat2", beta=1, alpha=1, out=None)
def _addmm(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    """bias + x W, as GPT-2's Conv1D has it."""
    del out
    bias, x, weight = a["input"], a["mat1"], a["mat2"]
    plain = a["beta"] == 1 and a["alpha"] == 1 and a["out"] is None
    if not plain or watched(x) or (bias.ndim > 1 and bias.shape[0] != 1):
        return None
    used: Used = {weight: Dense(transposed=True)} if watched(weight) else {}
    if watched(bias):
        used[bias] = Shift(tuple(bias.shape))
    return x, used
