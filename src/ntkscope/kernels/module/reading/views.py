"""Parameters that are used through a view of them: a slice, a reshape, a new axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import Operation

VIEWS = {
    torch.reshape, Tensor.reshape, Tensor.view, Tensor.__getitem__, torch.unsqueeze, Tensor.unsqueeze,
    torch.squeeze, Tensor.squeeze, torch.flatten, Tensor.flatten, torch.narrow, Tensor.narrow,
    torch.select, Tensor.select, Tensor.unflatten, torch.permute, Tensor.permute, torch.transpose,
    Tensor.transpose, torch.movedim, Tensor.movedim, Tensor.contiguous, torch.chunk, Tensor.chunk,
    torch.split, Tensor.split, torch.unbind, Tensor.unbind,
}  # fmt: skip


@dataclass(frozen=True)
class Entries:
    """Which entries of a parameter of ``size`` a view holds, as numbers in the view's shape."""

    size: int
    row: int  # of the parameter's last axis
    numbers: Tensor = field(compare=False)

    @classmethod
    def of(cls, tensor: Tensor) -> Entries:
        """All, in their places."""
        numbers = torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)
        return cls(tensor.numel(), tensor.shape[-1] if tensor.ndim else 1, numbers)

    def seen(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> list[tuple[Tensor, Entries]]:
        """The results of ``func`` of the view, each with its entries; none where it is no view by shapes alone."""
        rest = (*args[1:], *kwargs.values())
        # an index that may come from the samples; a view of the bits
        if func not in VIEWS or any(_holds_tensor(v) or isinstance(v, torch.dtype) for v in rest):
            return []
        return self._paired(func(self.numbers, *args[1:], **kwargs), out)

    def gathered(self, gather: Gather, out: Any) -> list[tuple[Tensor, Entries]]:
        return self._paired(self.numbers[gather.index], out)

    def _paired(self, numbers: Any, out: Any) -> list[tuple[Tensor, Entries]]:
        several = isinstance(out, (tuple, list))
        parts = list(zip(out, numbers, strict=True)) if several else [(out, numbers)]
        if any(made.shape != held.shape for made, held in parts):
            return []
        return [(made, replace(self, numbers=held)) for made, held in parts]


@dataclass(frozen=True)
class Gather:
    """A call that takes entries of a ``table`` by an index, which may or may not come from the samples."""

    table: Tensor
    index: Any

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Gather | None:
        if func is F.embedding:
            given = {**dict(zip(_EMBEDDING, args, strict=False)), **kwargs}
            rows, table = given["input"], given["weight"]
            changed = given.get("padding_idx") is not None or given.get("max_norm") is not None
            plain = not changed and not given.get("scale_grad_by_freq")
            return cls(table, rows) if plain else None
        if func is Tensor.__getitem__ and len(args) == 2 and _holds_tensor(args[1]):
            return cls(*args)
        if func in (torch.index_select, Tensor.index_select) and len(args) == 3:
            dim = args[1] % args[0].ndim
            return cls(args[0], (*(slice(None),) * dim, args[2]))
        return None

    def same(self, other: Gather) -> bool:
        """Whether both take the same entries of one parameter, whatever the samples were."""
        ours, theirs = (
            g.index if isinstance(g.index, tuple) else (g.index,) for g in (self, other)
        )
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))


_EMBEDDING = (
    "input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse",
)  # fmt: skip


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_tensor(part) for part in value)
    return isinstance(value, Tensor)


@dataclass(frozen=True)
class Viewed(Operation):
    """What a small operation does with a view, for the parameter itself."""

    operation: Operation
    entries: Entries
    whole = False

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        made = self.operation.gradient(x, g, slice(None))
        out = made.new_zeros(*made.shape[:2], self.entries.size)
        return out.index_add_(2, self.entries.numbers.flatten(), made)[..., part]

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        own = self.operation.for_samples(ndim, axis, folded)
        return own and replace(self, operation=own)

    def beside(self, heavy: Operation) -> Operation:
        return replace(self, operation=self.operation.beside(heavy))


def through_view(operation: Operation, entries: Entries | None) -> Operation | None:
    """``operation`` for the parameter behind a view.

    None where it has a large gradient, but for a matrix of which the view shows some rows.
    """
    if entries is None or not operation.heavy:
        return operation if entries is None else Viewed(operation, entries)
    numbers = entries.numbers
    first, row = int(numbers.flatten()[0]) if numbers.numel() else 0, numbers.shape[-1]
    there = torch.arange(first, first + numbers.numel(), device=numbers.device)
    rows = numbers.ndim == 2 and first % row == 0 and entries.size % row == 0
    if not rows or entries.row != row or not torch.equal(numbers.flatten(), there):
        return None
    return operation.on_rows(first // row, entries.size // row)


def touched(operations: Sequence[Operation]) -> Tensor | None:
    """The numbers of the entries that the views of one parameter show; None for all of them."""
    views = [op.entries for op in operations if isinstance(op, Viewed)]
    if len(views) < len(operations):
        return None
    shown = torch.unique(torch.cat([entries.numbers.flatten() for entries in views]))
    return shown if len(shown) < views[0].size else None


def among(operation: Operation, shown: Tensor) -> Operation:
    """The same for the parameter's entries ``shown``, in ascending order, as all that there are."""
    assert isinstance(operation, Viewed)
    numbers = torch.searchsorted(shown, operation.entries.numbers)
    return replace(operation, entries=Entries(len(shown), 1, numbers))
