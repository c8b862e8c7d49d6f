"""Memory for the tiles of a product, taken once."""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Two reused buffers for Gram tiles, so that forming K allocates nothing N×N."""

    def __init__(self, numel: int, dtype: torch.dtype, device: torch.device) -> None:
        self._numel, self._dtype, self._device = numel, dtype, device
        self._buffers: list[Tensor | None] = [None, None]

    def take(self, index: int, shape: torch.Size) -> Tensor:
        buffer = self._buffers[index]
        if buffer is None:
            buffer = torch.empty(self._numel, dtype=self._dtype, device=self._device)
            self._buffers[index] = buffer
        return buffer[: shape.numel()].view(shape)

    def transposed(self, block: Tensor) -> Tensor:
        """A contiguous transpose in the second buffer: torch is quick only at contiguous targets."""
        flat = self.take(0, block.shape).copy_(block)
        return self.take(1, torch.Size(block.shape[::-1])).copy_(flat.T)
