"""A Transformer encoder that reads a digit as eight tokens, one for each row of its pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Two layers, pre-norm, learned positions, mean pooling, ten outputs."""

    def __init__(
        self, tokens: int = 8, features: int = 8, d: int = 32, layers: int = 2, classes: int = 10
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.embed = nn.Linear(features, d)
        self.places = nn.Parameter(torch.randn(tokens, d) / d**0.5)
        layer = nn.TransformerEncoderLayer(
            d, 4, 2 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(d, classes)

    def forward(self, X: Tensor) -> Tensor:
        tokens = X.reshape(len(X), self.tokens, -1) / 16
        return self.head(self.encoder(self.embed(tokens) + self.places).mean(dim=1))


def build(seed: int = 0) -> nn.Module:
    """The network at its initialization."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Encoder().eval()
