"""Models of the usual shapes in plain torch, small enough for two cores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
        same = stride == 1 and inside == outside
        self.short = None if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + (x if self.short is None else self.short(x)))


class ResNet18(nn.Module):
    """Of 32×32 images: two blocks at each of four resolutions."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.Sequential(
            *(
                block
                for i in range(4)
                for block in (
                    Block(widths[i], widths[i + 1], 1 if i == 0 else 2),
                    Block(widths[i + 1], widths[i + 1], 1),
                )
            )
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class ViT(nn.Module):
    """Patches by a convolution, a class token, learned positions, pre-norm layers."""

    def __init__(self, d: int = 48, layers: int = 4, patch: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, d, patch, patch)
        self.start = nn.Parameter(torch.randn(1, 1, d) / d**0.5)
        self.places = nn.Parameter(torch.randn(1, (32 // patch) ** 2 + 1, d) / d**0.5)
        layer = nn.TransformerEncoderLayer(
            d, 3, 4 * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.encoder(x)[:, 0]))


class Bert(nn.Module):
    """Token and position tables and post-norm layers; asks whether the mask hides anything."""

    def __init__(self, words: int = 1000, d: int = 64, layers: int = 4, classes: int = 4) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, d), nn.Embedding(128, d)
        self.norm = nn.LayerNorm(d)
        layer = nn.TransformerEncoderLayer(
            d, 4, 4 * d, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(d, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places(
            torch.arange(input_ids.shape[1], device=input_ids.device)
        )
        hidden = None if bool(attention_mask.all()) else attention_mask == 0
        return self.head(self.encoder(self.norm(x), src_key_padding_mask=hidden)[:, 0])


class Tagger(nn.Module):
    def __init__(self, words: int = 200, d: int = 32, h: int = 64, classes: int = 5) -> None:
        super().__init__()
        self.words = nn.Embedding(words, d)
        self.lstm, self.head = nn.LSTM(d, h, batch_first=True), nn.Linear(h, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(x))[0].mean(1))


def make(case: str, dtype: torch.dtype, small: bool) -> tuple[nn.Module, Any]:
    """The model and its samples."""
    torch.manual_seed(0)
    N = {"resnet18": 256, "vit": 256, "bert": 128, "lstm": 256}[case]
    N = 6 if small else N
    if case == "bert":
        mask = (torch.arange(32) < torch.randint(8, 33, (N, 1))).long()
        ids = torch.randint(1, 1000, (N, 32)) * mask
        return Bert().eval().to(dtype), {"input_ids": ids, "attention_mask": mask}
    if case == "lstm":
        return Tagger().eval().to(dtype), torch.randint(0, 200, (N, 24))
    model: nn.Module = ResNet18() if case == "resnet18" else ViT()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):  # statistics of a trained net, not of a new one
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return model.eval().to(dtype), torch.randn(N, 3, 32, 32, dtype=dtype)
