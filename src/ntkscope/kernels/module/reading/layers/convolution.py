"""Convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    made: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)
    heavy = is_outer = True

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C = g.shape[:2]
        q = g.shape[3]
        chosen = range(q)[part]
        per_group = q // self.groups
        pieces = []
        for group in range(chosen.start // per_group, (chosen.stop - 1) // per_group + 1):
            low = max(chosen.start, group * per_group)
            high = min(chosen.stop, (group + 1) * per_group)
            patches = self._patches(x, group)  # (n, T, p)
            rows = g[:, :, :, low:high].flatten(4)  # (n, C, k, q′, O)
            rows = rows.permute(0, 1, 3, 2, 4).reshape(n, C * (high - low), -1)
            pieces.append(torch.bmm(rows, patches).reshape(n, C, -1))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def bound(self, x: Tensor) -> Convolution:
        return replace(self, made=tuple(self._patches(x, i) for i in range(self.groups)))

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        n, C, _, q = g.shape[:4]
        per_group = q // self.groups
        a = [self._patches(x, group) for group in range(self.groups)]
        flat = g.flatten(4).permute(0, 1, 2, 4, 3).reshape(n, C, -1, q)  # (n, C, T, q)
        b = [flat[..., i * per_group : (i + 1) * per_group] for i in range(self.groups)]
        return a, b

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        C, k, q = g.shape[1:4]
        T = k * math.prod(g.shape[4:])
        p = x.shape[2] // self.groups * math.prod(self.kernel)
        return self.groups * pair_flops(T, p, C * q // self.groups)

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """As the base has it, the norms of the patches by a convolution with ones."""
        n, C, _, q = g.shape[:4]
        per_group, total = q // self.groups, g.new_zeros(g.shape[:2])
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel) - 1]
        ones = x.new_ones(1, 1, *self.kernel)
        width = x.shape[2] // self.groups
        for group in range(self.groups):
            own = x[:, :, group * width : (group + 1) * width].square().sum(dim=2)
            own = F.pad(own.flatten(0, 1)[:, None], self._pads)
            squares = convolve(own, ones, None, self.stride, 0, self.dilation)
            norms = squares.sqrt().view(n, 1, -1)
            signals = g[:, :, :, group * per_group : (group + 1) * per_group].square().sum(dim=3)
            total += (norms * signals.sqrt().reshape(n, C, -1)).sum(dim=2)
        return total

    def form(self, tensor: Tensor, folded: bool) -> Tensor:
        return tensor if folded else tensor[:, None]

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        del x, out
        return axis == 0

    def scratch(self, g_size: int, parameter: tuple[int, ...]) -> int:
        """The patches."""
        units = parameter[0]
        return g_size // units * (math.prod(parameter) // units)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() * size / g.shape[3]

    @property
    def _pads(self) -> list[int]:
        """For F.pad: the last axis first."""
        return [p for pair in zip(self.before[::-1], self.after[::-1], strict=True) for p in pair]

    def _patches(self, x: Tensor, group: int) -> Tensor:
        """(n, T, c/groups·Πkernel): the inputs under each position of the kernel."""
        if self.made:
            return self.made[group]
        n, k, c = x.shape[:3]
        width = c // self.groups
        x = x[:, :, group * width : (group + 1) * width].reshape(n * k, width, *x.shape[3:])
        pads, d = self._pads, len(self.kernel)
        if d == 2 and self.before == self.after and k == 1:
            columns = F.unfold(x, self.kernel, self.dilation, self.before, self.stride)
            return columns.transpose(1, 2)
        if any(pads):
            x = F.pad(x, pads)
        for axis in range(d):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            x = x.unfold(2 + axis, reach, self.stride[axis])[..., :: self.dilation[axis]]
        # (n·k, width, *O, *kernel) → (n, k·O, width·kernel)
        positions = range(2, 2 + d)
        x = x.permute(0, *positions, 1, *range(2 + d, 2 + 2 * d))
        return x.reshape(n, -1, width * math.prod(self.kernel))


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
