"""Parameters that scale or shift, broadcast over a layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import Operation, Read, Watched, reads


@dataclass(frozen=True)
class _Broadcast(Operation):
    """``shape`` is the parameter's; once :meth:`for_samples` was asked, of a sample's axes."""

    shape: tuple[int, ...]
    sign: float = 1.0

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        full = (1,) * (ndim - len(self.shape)) + self.shape
        if full[axis] != 1:
            return None
        keep = (1,) if folded else ()
        return replace(self, shape=full[:axis] + keep + full[axis + 1 :])

    def beside(self, heavy: Operation) -> Operation:
        return replace(self, shape=heavy.broadcast(self.shape))


@dataclass(frozen=True)
class Scale(_Broadcast):
    """y = p ∘ x, p broadcast; x: (n, *rest), g: (n, C, *rest)."""

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        return _reduce(g * x[:, None], self.shape, self.sign, part)


@dataclass(frozen=True)
class Shift(_Broadcast):
    """y = x + p, p broadcast; g: (n, C, *rest); x is not needed."""

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        del x
        return _reduce(g, self.shape, self.sign, part)

    def of_each(self, count: int) -> bool:
        """Whether each of ``count`` units has one of its own, so that g is its gradient."""
        return self.sign == 1.0 and math.prod(self.shape) == count


def _reduce(g: Tensor, shape: tuple[int, ...], sign: float, part: slice) -> Tensor:
    """Sum (n, C, *rest) over the axes along which a parameter of ``shape`` was broadcast."""
    full = (1,) * (g.ndim - 2 - len(shape)) + shape
    axes = [2 + i for i, size in enumerate(full) if size == 1 and g.shape[2 + i] != 1]
    summed = g.sum(axes) if axes else g
    flat = summed.reshape(*g.shape[:2], -1)
    flat = flat if part == slice(None) else flat[..., part]
    return flat if sign == 1.0 else flat * sign


def _read(
    scale: bool, sign: float, reflected: bool = False
) -> Callable[[dict[str, Any], Watched, Tensor], Read]:
    def read(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
        first, second = a["input"], a["other"]
        if a["alpha"] != 1 or a["out"] is not None:
            return None
        both = watched(first), watched(second)
        if both == (True, True) or not isinstance(first, Tensor) or not isinstance(second, Tensor):
            return None
        p, x = (first, second) if both[0] else (second, first)
        if x.shape != out.shape:
            return None
        own = sign if (p is second) != reflected else 1.0
        shape = tuple(p.shape)
        return (x, {p: Scale(shape, own)}) if scale else (None, {p: Shift(shape, own)})

    return read


for _functions, _meaning in (
    ((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _read(scale=False, sign=1.0)),
    ((torch.sub, Tensor.sub, Tensor.__sub__), _read(scale=False, sign=-1.0)),
    ((Tensor.__rsub__,), _read(scale=False, sign=-1.0, reflected=True)),
    ((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _read(scale=True, sign=1.0)),
):
    reads(*_functions, names="input other", alpha=1, out=None)(_meaning)


@reads(Tensor.expand, torch.broadcast_to, Tensor.broadcast_to, Tensor.expand_as, names="input")
def _expand(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    """A class token for every sample: 0 + p."""
    p = a["input"]
    return (None, {p: Shift(tuple(p.shape))}) if watched(p) and out.numel() else None


@dataclass(frozen=True)
class Tiled(Operation):
    """y = p of ``shape`` again and again along the samples' axis, whole times a sample; g: (n, C, k, *rest)."""

    shape: tuple[int, ...]

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        del x
        whole = g.reshape(*g.shape[:2], -1, *self.shape).sum(dim=2)
        return whole[:, :, part].flatten(2)

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        del ndim
        return self if axis == 0 and folded else None


@reads(Tensor.repeat, names="input")
def _repeat(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    """For every sample, or every sample's heads, as relative positions are."""
    p = a["input"]
    full = (1,) * (out.ndim - p.ndim) + tuple(p.shape)
    spread = all(size in (1, made) for size, made in zip(full, out.shape, strict=True))
    if watched(p) and not spread and full[1:] == out.shape[1:] and p.ndim == out.ndim:
        return None, {p: Tiled(full)}
    return (None, {p: Shift(tuple(p.shape))}) if watched(p) and spread else None


@reads(F.prelu, names="input weight")
def _prelu(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    weight = a["weight"]
    if not watched(weight) or out.ndim < 2:
        return None
    shape = (len(weight),) + (1,) * (out.ndim - 2) if len(weight) > 1 else (1,)
    return torch.clamp(a["input"].detach(), max=0), {weight: Scale(shape)}
