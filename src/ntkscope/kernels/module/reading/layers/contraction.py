"""Products that sum over axes of a parameter: ``einsum``, ``matmul``, ``bmm`` and ``tensordot``.

Axes have letters, as in an einsum. A matrix that takes x's last axis to another is a linear layer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from string import ascii_letters, ascii_uppercase
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.layers.dense import Dense
from ntkscope.kernels.module.reading.layers.layer import (
    Operation,
    Pairs,
    Read,
    Watched,
    pair_flops,
    reads,
)

_ALONE = "."  # an axis of one entry, along which the parameter is broadcast


@dataclass(frozen=True)
class Contraction(Operation):
    """y = Σ x W over the axes that y lacks; ``x``, ``y``, ``weight``: the letters of their axes.

    Each axis of x is one of y or of W, and each of W one of x or of y. Once :meth:`for_samples` was asked, x and y
    lack the samples'. Axes that W lacks are positions; ``both`` are those of all three. x: (n, T, *both, *inner), g:
    (n, C, T, *both, *outer).
    """

    x: str
    y: str
    weight: str
    heavy = True

    @property
    def _positions(self) -> str:
        return "".join(axis for axis in self.x if axis not in self.weight)

    @property
    def _both(self) -> str:
        return "".join(axis for axis in self.weight if axis in self.x and axis in self.y)

    def _own(self, axes: str) -> str:
        """Those of x or y that W has, in the order of :meth:`form`."""
        return self._both + "".join(a for a in axes if a in self.weight and a not in self._both)

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        ours, theirs, first = self._own(self.x), self._own(self.y), self.weight[:1]
        whole = slice(None)
        if first and first in ours:
            x = x[(whole,) * (2 + ours.index(first)) + (part,)]
        if first and first in theirs:
            g = g[(whole,) * (3 + theirs.index(first)) + (part,)]
        number = {axis: 3 + k for k, axis in enumerate(self.weight) if axis != _ALONE}
        made: Tensor = torch.einsum(
            x, [0, 2, *(number[axis] for axis in ours)],
            g, [0, 1, 2, *(number[axis] for axis in theirs)],
            [0, 1, *number.values()],
        )  # fmt: skip
        return made.reshape(*g.shape[:2], -1)

    def _grouped(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """(n, T, b, p) and (n, C, T, b, q): b entries of the axes of all three."""
        k = len(self._both)
        (n, T, *a), (_, C, _, *b) = x.shape, g.shape
        return (
            x.reshape(n, T, math.prod(a[:k]), math.prod(a[k:])),
            g.reshape(n, C, T, math.prod(b[:k]), math.prod(b[k:])),
        )

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        a, b = self._grouped(x, g)
        return [*a.unbind(2)], [*b.unbind(3)]

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        a, b = self._grouped(x, g)
        C, T, groups, q = b.shape[1:]
        return groups * pair_flops(T, a.shape[3], C * q)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g.shape[1] * g.shape[2] * size

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """As the base has it, the groups' norms squared before they are added."""
        a, b = (tensor.square().sum(dim=-1) for tensor in self._grouped(x, g))
        return (a[:, None] * b).sum(dim=3).sqrt().sum(dim=2)

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        del folded
        axes = self.y if output else self.x
        order = self._positions + self._own(axes)
        placed = tensor.permute(0, *(1 + axes.index(axis) for axis in order))
        k = 1 + len(self._positions)
        return placed.reshape(len(tensor), math.prod(placed.shape[1:k]), *placed.shape[k:])

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        del x, out
        return self.x[axis : axis + 1] == self.y[axis] and self.y[axis] not in self.weight

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        del ndim
        if folded:  # what lay on the samples' axis beside them is a position
            return self
        samples = self.y[axis]
        return replace(self, x=self.x.replace(samples, ""), y=self.y.replace(samples, ""))

    def on_transpose(self) -> Operation | None:
        return replace(self, weight=self.weight[::-1])


def _of(
    operands: tuple[Tensor, Tensor], axes: tuple[str, str], y: str, out: Tensor, watched: Watched
) -> Read:
    """What a product of two tensors with these ``axes``, of which one is watched, does with that one."""
    places = [i for i, tensor in enumerate(operands) if watched(tensor)]
    if len(places) != 1:
        return None
    (place,) = places
    W, x = operands[place], operands[1 - place]
    weight, own = axes[place], axes[1 - place]
    ours, theirs = dict(zip(own, x.shape, strict=True)), dict(zip(y, out.shape, strict=True))
    for axis, size in zip(weight, W.shape, strict=True):
        shared = axis in ours and axis in theirs
        other = ours.get(axis, theirs.get(axis, 0))
        if size == 1 and (shared or other != 1):
            weight = weight.replace(axis, _ALONE)
        elif size != other:
            return None
    summed = [k for k, axis in enumerate(own) if axis not in weight + y]
    if summed:  # before the product
        x, own = x.detach().sum(summed), "".join(a for a in own if a in weight + y)
    if len(weight) == 2 and _ALONE not in weight:
        for inner, outer in ((weight[0], weight[1]), (weight[1], weight[0])):
            if own.endswith(inner) and y == own[:-1] + outer:
                return x, {W: Dense(transposed=weight[0] == inner)}
    return x, {W: Contraction(own, y, weight)}


@reads(torch.einsum, names="args")  # torch has no names for them
def _einsum(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    equation, operands = a["args"], a["operands"]
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    terms, arrow, made = equation.replace(" ", "").partition("->")
    axes = terms.split(",")
    if not arrow:
        counts = Counter(terms.replace(",", "").replace(".", ""))
        made = "..." * ("..." in terms) + "".join(sorted(a for a in counts if counts[a] == 1))
    spare = [letter for letter in ascii_letters if letter not in equation]
    most = [
        tensor.ndim - len(own.replace("...", ""))
        for tensor, own in zip(operands, axes, strict=True)
    ]
    longest = "".join(spare[: max(most)])
    axes = [
        own.replace("...", longest[len(longest) - k :]) for own, k in zip(axes, most, strict=True)
    ]
    made = made.replace("...", longest)
    if any(len(set(own)) < len(own) for own in axes):
        return None
    return _of((operands[0], operands[1]), (axes[0], axes[1]), made, out, watched)


def _product(second: str) -> Callable[[dict[str, Any], Watched, Tensor], Read]:
    def read(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
        left, right = a["input"], a[second]
        lead = ascii_uppercase[: max(left.ndim, right.ndim, 2) - 2]
        rows, columns = (lead[len(lead) - max(t.ndim - 2, 0) :] for t in (left, right))
        ours = rows + "ik" if left.ndim > 1 else "k"
        theirs = columns + "kj" if right.ndim > 1 else "k"
        made = lead + "i" * (left.ndim > 1) + "j" * (right.ndim > 1)
        return _of((left, right), (ours, theirs), made, out, watched)

    return read


for _second, _functions in {
    "other": (torch.matmul, Tensor.matmul, Tensor.__matmul__),
    "mat2": (torch.mm, Tensor.mm, torch.bmm, Tensor.bmm),
    "vec": (torch.mv, Tensor.mv),
}.items():
    reads(*_functions, names=f"input {_second}")(_product(_second))


@reads(torch.tensordot, names="a b dims", dims=2)
def _tensordot(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
    left, right, dims = a["a"], a["b"], a["dims"]
    if isinstance(dims, int):
        dims = [*range(left.ndim - dims, left.ndim)], [*range(dims)]
    if isinstance(dims, Tensor) or len(dims) != 2:
        return None
    ours, theirs = [*ascii_letters[: left.ndim]], [*ascii_letters[left.ndim :][: right.ndim]]
    for i, j in zip(*dims, strict=True):
        theirs[j] = ours[i]
    made = [axis for axis in ours if axis not in theirs] + [
        axis for axis in theirs if axis not in ours
    ]
    return _of((left, right), ("".join(ours), "".join(theirs)), "".join(made), out, watched)
