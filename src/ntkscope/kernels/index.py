"""Rows and columns of a tile, as they may be named and as they are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Index = slice | Sequence[int] | Tensor


def place(index: Index, size: int, device: torch.device) -> slice | Tensor:
    """``index`` as a slice of step 1 or as sample numbers. Raises IndexError outside 0 … size−1."""
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        if step == 1:
            return slice(start, max(start, stop))
        return torch.arange(start, stop, step, device=device)
    numbers = torch.as_tensor(index, device=device)
    if numbers.dtype == torch.bool:
        if numbers.shape != (size,):
            raise IndexError(f"a mask must have {size} entries, got shape {tuple(numbers.shape)}")
        numbers = torch.nonzero(numbers)[:, 0]
    numbers = numbers.to(torch.long)
    if len(numbers) and not bool(((numbers >= -size) & (numbers < size)).all()):
        raise IndexError(f"tile indices must be within 0 … {size - 1}")
    return torch.where(numbers < 0, numbers + size, numbers)


def count(index: slice | Tensor) -> int:
    """Rows that a placed index names."""
    return index.stop - index.start if isinstance(index, slice) else len(index)
