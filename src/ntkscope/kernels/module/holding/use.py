"""One layer at work on the samples of both sides of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import Operation

Side = tuple[Tensor, Tensor]  # x and g of some samples


@dataclass(frozen=True, eq=False)
class Use:
    """One operation with what it holds for the rows and the columns of the kernel."""

    operation: Operation
    x: tuple[Tensor, Tensor]
    g: tuple[Tensor, Tensor]

    def samples(self, side: int, index: slice | Tensor) -> Side:
        return self.x[side][index], self.g[side][index]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.x, *self.g)


def together(uses: Sequence[Use]) -> tuple[Use, ...]:
    """Uses of one dense operation, as the steps of a recurrent layer, are one with all their positions."""
    if len(uses) == 1 or not are_steps([use.operation for use in uses]):
        return tuple(uses)
    x, g = (
        _joined([getattr(use, side) for use in uses], axis) for side, axis in (("x", 1), ("g", 2))
    )
    return (Use(uses[0].operation, x, g),)


def are_steps(operations: Sequence[Operation]) -> bool:
    """Whether they are one dense operation on other positions."""
    first = operations[0]
    return first.by_vectors and first.is_outer and all(each == first for each in operations)


def _joined(pairs: Sequence[Side], axis: int) -> Side:
    """Both sides' tensors one after another, which stay one tensor where they were."""
    rows = torch.cat([row for row, _ in pairs], dim=axis)
    same = all(row is col for row, col in pairs)
    return rows, rows if same else torch.cat([col for _, col in pairs], dim=axis)


def at_used_positions(use: Use) -> Use:
    """A dense use without the positions at which every signal is zero, as behind a class token."""
    if not (use.operation.by_vectors and use.operation.is_outer) or use.g[0].device.type == "meta":
        return use
    sides = use.g[:1] if use.g[0] is use.g[1] else use.g
    sizes = [torch.linalg.vector_norm(g, dim=3).amax(dim=(0, 1)) for g in sides]
    used = torch.nonzero(torch.stack(sizes).amax(dim=0))[:, 0]
    if len(used) == len(sizes[0]):
        return use
    used = used if len(used) else used.new_zeros(1)  # an axis of no positions has no kernel
    return Use(use.operation, _picked(use.x, 1, used), _picked(use.g, 2, used))


def _picked(pair: Side, axis: int, places: Tensor) -> Side:
    rows = pair[0].index_select(axis, places)
    return rows, rows if pair[0] is pair[1] else pair[1].index_select(axis, places)
