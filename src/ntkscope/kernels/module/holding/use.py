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
    first, *rest = uses
    if not rest or not (first.operation.by_vectors and first.operation.is_outer):
        return tuple(uses)
    if any(use.operation != first.operation for use in rest):
        return tuple(uses)
    x, g = (
        _joined([getattr(use, side) for use in uses], axis) for side, axis in (("x", 1), ("g", 2))
    )
    return (Use(first.operation, x, g),)


def _joined(pairs: Sequence[Side], axis: int) -> Side:
    """Both sides' tensors one after another, which stay one tensor where they were."""
    rows = torch.cat([row for row, _ in pairs], dim=axis)
    same = all(row is col for row, col in pairs)
    return rows, rows if same else torch.cat([col for _, col in pairs], dim=axis)
