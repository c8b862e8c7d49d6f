"""Operations that read values: what a pass does next may then differ from sample to sample.

A pass that takes another way on other data reads a value first, and that first reading happens on
every way. So a probe that shows no reading speaks for all data of its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Python's own readings; a tensor that leaves torch takes its values along
FUNCTIONS = {
    Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__complex__,
    Tensor.__contains__, Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__array__,
    Tensor.__dlpack__, Tensor.nonzero, torch.nonzero, torch.argwhere, torch.is_nonzero, Tensor.is_nonzero,
    torch.equal, Tensor.equal, torch.allclose, Tensor.allclose, torch.unique, Tensor.unique,
    torch.unique_consecutive, Tensor.unique_consecutive, torch.masked_select, Tensor.masked_select,
}  # fmt: skip

_COMPARE = {"aten::equal", "aten::allclose", "aten::is_nonzero"}
_SHAPED_BY_VALUES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class ValueReads(TorchDispatchMode):
    """``found`` names the first operation below torch's functions that read a value.

    torch tags those whose result's shape or Python number depends on values; indexing is among them
    for the sake of masks, and counts only with one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.found = ""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping it imports the compiler, which takes seconds

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if not self.found and _reads(func, args):
            operation: Any = func
            self.found = operation.name()
        return func(*args, **(kwargs or {}))


def _reads(operation: Any, args: tuple[Any, ...]) -> bool:
    kind = _kind(operation)
    if kind is _Kind.BY_MASK:
        masks = (i for i in args[1] if isinstance(i, Tensor))
        return any(i.dtype in (torch.bool, torch.uint8) for i in masks)
    if kind is _Kind.BY_CLASSES:
        return len(args) < 2 or args[1] < 0
    return kind is _Kind.ALWAYS


class _Kind(Enum):
    """When an operation reads values; BY_MASK: indexed by one; BY_CLASSES: without their number."""

    NEVER = auto()
    ALWAYS = auto()
    BY_MASK = auto()
    BY_CLASSES = auto()


@cache
def _kind(operation: Any) -> _Kind:
    name = operation.name().partition(".")[0]
    if name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"):
        return _Kind.BY_MASK
    if name == "aten::one_hot":
        return _Kind.BY_CLASSES
    always = name in _COMPARE or any(tag in operation.tags for tag in _SHAPED_BY_VALUES)
    return _Kind.ALWAYS if always else _Kind.NEVER
