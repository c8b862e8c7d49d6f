"""Rows of a kernel and the samples behind them."""

from __future__ import annotations

import torch
from torch import Tensor


def samples_of(index: slice | Tensor, lead: int) -> tuple[slice | Tensor, slice | Tensor]:
    """The samples behind the rows ``index`` of a kernel, ``lead`` rows each, and where those are.

    ``index`` is what :func:`ntkscope.kernels.kernel.place` gives.
    """
    if lead == 1:
        return index, slice(None)
    if isinstance(index, slice):
        index = torch.arange(index.start, index.stop)
    samples, where = torch.unique(index // lead, return_inverse=True)
    return samples, where * lead + index % lead
