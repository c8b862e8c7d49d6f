"""Embeddings: rows of a table by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import (
    Operation,
    Pairs,
    Read,
    Watched,
    reads,
)

# flops' time of adding a number at a place of its own, and of writing one to fresh memory
_ADDING, _WRITING = 300.0, 30.0


@dataclass(frozen=True)
class Lookup(Operation):
    """y = W[x]; x: (n, T) indices, g: (n, C, T, q); the padding row gets no gradient."""

    rows: int
    padding: int | None
    heavy = True

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C, T, q = g.shape
        chosen = range(self.rows)[part]
        g = self._masked(x, g)
        inside = (x >= chosen.start) & (x < chosen.stop)
        target = torch.where(inside, x - chosen.start, 0)[:, None, :, None].expand(n, C, T, q)
        out = g.new_zeros(n, C, len(chosen), q)
        out.scatter_add_(2, target, g * inside[:, None, :, None])
        return out.reshape(n, C, -1)

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        return [x[..., None]], [self._masked(x, g)]

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        """Of the positions that read the same row; of samples that are not there yet, as if rows were alike."""
        (n, T), C, q = x.shape, g.shape[1], g.shape[3]
        equal = T * T / self.rows
        if x.device.type != "meta":
            counts = torch.bincount(x.flatten().long(), minlength=self.rows)
            if self.padding is not None:
                counts[self.padding] = 0
            equal = float(counts.double().square().sum()) / max(1, n) ** 2
        return equal * (2.0 * C * q + _ADDING)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() + _WRITING * len(g[0]) * size

    def _masked(self, x: Tensor, g: Tensor) -> Tensor:
        return g if self.padding is None else g * (x != self.padding)[:, None, :, None]

    def _norms(self, a: Tensor) -> Tensor:
        """A row stands for a unit vector."""
        return torch.ones_like(a[..., 0], dtype=torch.get_default_dtype())

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        del folded, output
        last = tensor.shape[-1:] if tensor.is_floating_point() else ()
        return tensor.reshape(len(tensor), -1, *last)

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, shape[-1])  # a bias; positions are one axis now

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        return x == out[:-1] and axis < len(out) - 1


@reads(
    F.embedding, names="input weight padding_idx max_norm norm_type scale_grad_by_freq sparse",
    padding_idx=None, max_norm=None, scale_grad_by_freq=False,
)  # fmt: skip
def _embedding(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    del watched, out
    if a["max_norm"] is not None or a["scale_grad_by_freq"]:
        return None
    weight, padding = a["weight"], a["padding_idx"]
    if padding is not None and padding < 0:
        padding += len(weight)
    return a["input"], {weight: Lookup(len(weight), padding)}
