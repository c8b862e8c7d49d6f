"""A residual network for 8×8 images whose branches end in weights: it has an infinite-width limit.

A block adds conv(relu(norm(·))) to its input, so that every sum is Gaussian in the limit; a block that
ends in relu(x + f(x)) with an activation's output for x is not (:mod:`resnet` is of that kind).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions, each behind its normalisation and activation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(y))) + self.shortcut(x)


class ResNet(nn.Module):
    """``width``, 2 and 4 ``width`` channels, seven 3×3 convolutions, two 1×1 shortcuts."""

    def __init__(self, width: int = 16, side: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.side = side
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)
        )
        self.norm = nn.GroupNorm(4, 4 * width)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, X: Tensor) -> Tensor:
        images = X.reshape(len(X), 1, self.side, self.side) / 16
        features = F.relu(self.norm(self.blocks(self.stem(images))))
        return self.head(features.mean(dim=(2, 3)))


def build(seed: int = 0, width: int = 16) -> nn.Module:
    """The network at its initialization."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNet(width)
