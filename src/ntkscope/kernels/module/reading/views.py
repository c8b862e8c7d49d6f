"""Parameters that are used through a view of them: a slice, a reshape, a new axis."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import Operation

VIEWS = {
    torch.reshape, Tensor.reshape, Tensor.view, Tensor.__getitem__, torch.unsqueeze, Tensor.unsqueeze,
    torch.squeeze, Tensor.squeeze, torch.flatten, Tensor.flatten, torch.narrow, Tensor.narrow,
    torch.select, Tensor.select, Tensor.unflatten,
}  # fmt: skip


@dataclass(frozen=True)
class Entries:
    """Which entries of a parameter of ``size`` a view holds, as numbers in the view's shape."""

    size: int
    numbers: Tensor = field(compare=False)

    @classmethod
    def of(cls, tensor: Tensor) -> Entries:
        """All, in their places."""
        numbers = torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)
        return cls(tensor.numel(), numbers)

    def seen(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> Entries | None:
        """Those of ``func`` of the view; None where it is no view by shapes alone."""
        if func not in VIEWS or not isinstance(out, Tensor) or not args:
            return None
        rest = (*args[1:], *kwargs.values())
        # an index that may come from the samples; a view of the bits
        if any(_holds_tensor(value) or isinstance(value, torch.dtype) for value in rest):
            return None
        numbers = func(self.numbers, *args[1:], **kwargs)
        return replace(self, numbers=numbers) if numbers.shape == out.shape else None


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_tensor(part) for part in value)
    return isinstance(value, Tensor)


@dataclass(frozen=True)
class Viewed(Operation):
    """What a small operation does with a view, for the parameter itself."""

    operation: Operation
    entries: Entries

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        made = self.operation.gradient(x, g, slice(None))
        out = made.new_zeros(*made.shape[:2], self.entries.size)
        return out.index_add_(2, self.entries.numbers.flatten(), made)[..., part]

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        own = self.operation.for_samples(ndim, axis, folded)
        return own and replace(self, operation=own)


def through_view(operation: Operation, entries: Entries | None, alone: bool) -> Operation | None:
    """``operation`` for the parameter behind a view; ``alone``: without a heavy one beside it.

    None where it has a large gradient, or the view shows less than half of the parameter: then the
    gradient would be mostly zeros.
    """
    if entries is None:
        return operation
    if operation.heavy or not alone or entries.size > 2 * entries.numbers.numel():
        return None
    return Viewed(operation, entries)
