"""A small residual network for 8×8 images (scikit-learn's digits come as rows of 64 numbers)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, outputs)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """16, 32 and 64 channels, seven 3×3 convolutions, two 1×1 shortcuts, ten outputs."""

    def __init__(self, side: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.side = side
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, classes)

    def forward(self, X: Tensor) -> Tensor:
        images = X.reshape(len(X), 1, self.side, self.side) / 16
        features = self.blocks(F.relu(self.stem(images)))
        return self.head(features.mean(dim=(2, 3)))


def build(seed: int = 0) -> nn.Module:
    """The network at its initialization."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNet()
