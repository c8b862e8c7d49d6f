"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
class Convolution(Operation):
    """torch.conv1d/2d/3d; x: (n, k, c, *S), g: (n, C, k, q, *O)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    made: Tensor | None = field(default=None, compare=False, repr=False)
    heavy = is_outer = True

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        per_group = g.shape[3] // self.groups
        chosen = range(g.shape[3])[part]
        made = []
        for groups, rows in _pieces(chosen.start, chosen.stop, per_group):
            patches = self._patches(x, groups)  # (n, groups, T, p)
            own = g.unflatten(3, (self.groups, per_group))[:, :, :, groups, rows].flatten(5)
            n, C, k, count, q, O = own.shape
            stacked = own.permute(0, 3, 1, 4, 2, 5).reshape(n * count, C * q, k * O)
            products = torch.bmm(stacked, patches.flatten(0, 1)).view(n, count, C, -1)
            made.append(products.transpose(1, 2).flatten(2))
        return made[0] if len(made) == 1 else torch.cat(made, dim=2)

    def bound(self, x: Tensor) -> Convolution:
        return replace(self, made=self._patches(x, slice(None)))

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        n, C, _, q = g.shape[:4]
        flat = g.flatten(4).permute(0, 1, 2, 4, 3).reshape(n, C, -1, q)  # (n, C, T, q)
        patches = self._patches(x, slice(None))
        return list(patches.unbind(1)), list(flat.chunk(self.groups, dim=3))

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        C, k, q = g.shape[1:4]
        T = k * math.prod(g.shape[4:])
        p = x.shape[2] // self.groups * math.prod(self.kernel)
        return self.groups * pair_flops(T, p, C * q // self.groups)

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """As the base has it, the norms of the patches by a convolution with ones."""
        n, k = g.shape[0], g.shape[2]
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel) - 1]
        squares = x.square().unflatten(2, (self.groups, -1)).sum(dim=3).flatten(0, 1)
        ones = x.new_ones(self.groups, 1, *self.kernel)
        padded = F.pad(squares, self._pads)
        sums = convolve(padded, ones, None, self.stride, 0, self.dilation, self.groups)
        norms = sums.sqrt().view(n, 1, k, self.groups, -1)
        signals = g.square().unflatten(3, (self.groups, -1)).sum(dim=4).flatten(4).sqrt()
        return (norms * signals).sum(dim=(2, 3, 4))

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        del output
        return tensor if folded else tensor[:, None]

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        del x, out
        return axis == 0

    def scratch(self, g_size: int, parameter: tuple[int, ...]) -> int:
        """The patches."""
        units = parameter[0]
        return self.groups * (g_size // units) * (math.prod(parameter) // units)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() * size / g.shape[3]

    @property
    def _pads(self) -> list[int]:
        """For F.pad: the last axis first."""
        return [p for pair in zip(self.before[::-1], self.after[::-1], strict=True) for p in pair]

    def _patches(self, x: Tensor, groups: slice) -> Tensor:
        """(n, groups, T, c/groups·Πkernel): the inputs under each position of the kernel."""
        if self.made is not None:
            return self.made[:, groups]
        x = x.unflatten(2, (self.groups, -1))[:, :, groups]
        n, k, count, width = x.shape[:4]
        x = x.reshape(n * k, count * width, *x.shape[4:])
        pads, d = self._pads, len(self.kernel)
        if d == 2 and self.before == self.after and k == 1:
            columns = F.unfold(x, self.kernel, self.dilation, self.before, self.stride)
            return columns.unflatten(1, (count, -1)).transpose(2, 3)
        if any(pads):
            x = F.pad(x, pads)
        for axis in range(d):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            x = x.unfold(2 + axis, reach, self.stride[axis])[..., :: self.dilation[axis]]
        # (n·k, count·width, *O, *kernel) → (n, count, k·O, width·kernel)
        x = x.unflatten(1, (count, width)).unflatten(0, (n, k))
        outer, inner = range(4, 4 + d), range(4 + d, 4 + 2 * d)
        x = x.permute(0, 2, 1, *outer, 3, *inner)
        return x.reshape(n, count, -1, width * math.prod(self.kernel))


def _pieces(start: int, stop: int, per_group: int) -> Iterator[tuple[slice, slice]]:
    """Units from ``start`` to ``stop`` as groups and rows of each: whole groups together."""
    while start < stop:
        group, row = divmod(start, per_group)
        whole = (stop - start) // per_group if row == 0 else 0
        if whole:
            yield slice(group, group + whole), slice(None)
            start += whole * per_group
        else:
            end = min(per_group, row + stop - start)
            yield slice(group, group + 1), slice(row, end)
            start += end - row


def _read(d: int) -> Callable[[dict[str, Any], Watched, Tensor], Read]:
    def each(value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        return tuple(int(v) for v in (values * d if len(values) == 1 else values))

    def padding(a: dict[str, Any], kernel: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Before and after."""
        if a["padding"] == "valid":
            return (0,) * d, (0,) * d
        if a["padding"] != "same":
            return each(a["padding"]), each(a["padding"])
        steps = each(a["dilation"])
        totals = [step * (size - 1) for step, size in zip(steps, kernel, strict=True)]
        return tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)

    def read(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
        if a["input"].ndim != d + 2 or out.ndim != d + 2:
            return None
        used: Used = {}
        weight = a["weight"]
        if watched(weight):
            kernel = tuple(weight.shape[2:])
            before, after = padding(a, kernel)
            used[weight] = Convolution(
                kernel, each(a["stride"]), before, after, each(a["dilation"]), int(a["groups"])
            )
        if watched(a["bias"]):
            used[a["bias"]] = Shift((len(a["bias"]),) + (1,) * d)
        return a["input"], used

    return read


for _d, _function in enumerate((torch.conv1d, torch.conv2d, torch.conv3d), 1):
    reads(
        _function, names="input weight bias stride padding dilation groups",
        bias=None, stride=1, padding=0, dilation=1, groups=1,
    )(_read(_d))  # fmt: skip
