"""An autoencoder whose decoder is its encoder's transpose: every weight is used twice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TiedAutoencoder(nn.Module):
    """64 pixels, two hidden layers, and the same two matrices back."""

    def __init__(self, d: int = 64, hidden: int = 128, code: int = 16) -> None:
        super().__init__()
        self.outer = nn.Linear(d, hidden)
        self.inner = nn.Linear(hidden, code)
        self.back = nn.Parameter(torch.zeros(hidden))
        self.mean = nn.Parameter(torch.zeros(d))

    def forward(self, X: Tensor) -> Tensor:
        code = torch.tanh(self.inner(torch.tanh(self.outer(X / 16))))
        hidden = torch.tanh(F.linear(code, self.inner.weight.T, self.back))
        return F.linear(hidden, self.outer.weight.T, self.mean)


def build(seed: int = 0) -> nn.Module:
    """The network at its initialization."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TiedAutoencoder()
