"""Symmetric matrices of which one half is computed."""

from __future__ import annotations

import torch
from torch import Tensor


def mirror(out: Tensor) -> None:
    """Copy the upper triangle onto the lower, in blocks."""
    step = 1024
    N = len(out)
    for i in range(0, N, step):
        block = out[i : i + step, i : i + step]
        block.copy_(torch.triu(block) + torch.triu(block, 1).T)
        for j in range(i + step, N, step):
            out[j : j + step, i : i + step] = out[i : i + step, j : j + step].T


def add_upper(block: Tensor, left: Tensor, right: Tensor) -> None:
    """block += left rightᵀ in its upper panels, eight of them: the rest is mirrored later."""
    n = len(block)
    step = max(64, -(-n // 8))
    for i in range(0, n, step):
        block[i : i + step, i:].addmm_(left[i : i + step], right[i:].T)
