"""Derivatives that jump at 0, and pre-activations that rounding may have moved across it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KINKED = {
    F.relu, torch.relu, Tensor.relu, F.leaky_relu, F.prelu, F.relu6, F.rrelu, F.threshold,
    torch.relu_, Tensor.relu_, torch.abs, Tensor.abs,
}  # fmt: skip


def near_zero(x: Tensor) -> Tensor:
    """Entries that rounding may have moved across 0: within n·u of the sample's largest, n entries.

    Exact zeros are left out: they come from zero inputs, not from cancellation.
    """
    if x.ndim < 2 or not x.is_floating_point():
        return torch.zeros((), dtype=torch.long, device=x.device)
    flat = x.reshape(len(x), -1).abs()
    reach = flat.shape[1] * torch.finfo(x.dtype).eps / 2 * flat.amax(dim=1, keepdim=True)
    return ((flat <= reach) & (flat > 0)).sum()
