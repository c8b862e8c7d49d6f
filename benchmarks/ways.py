"""Is the structured way ever slower than per-sample gradients and one product? Small models, one thread.

Seconds of the processor, the least of three: ``ntkscope`` with its self-check and without, the general way,
and the plainer of two peers, gradients by ``vmap`` or one backward pass a sample and output, held, then
one product a layer. ``python -m benchmarks.ways``; case names pick some.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ntkscope as ntk
from benchmarks._common import record
from benchmarks._models import Bert, ResNet18, Tagger, ViT
from benchmarks.models import added, by_loop, by_vmap


class Mixer(nn.Module):
    """Patches, then a layer over tokens and one over channels, twice."""

    def __init__(self, d: int = 32, tokens: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Linear(48, d)
        self.over = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(d), nn.Linear(tokens, tokens), nn.Linear(d, d)])
            for _ in range(2)
        )
        self.head = nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        for norm, tokens, channels in self.over:
            x = x + F.gelu(tokens(norm(x).mT)).mT
            x = x + F.gelu(channels(norm(x)))
        return self.head(x.mean(1))


class ConvNeXt(nn.Module):
    """Depthwise 7×7, norm over channels, two pointwise layers, a layer scale, twice."""

    def __init__(self, d: int = 24, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, d, 4, 4)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [nn.Conv2d(d, d, 7, 1, 3, groups=d), nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)]
            )
            for _ in range(2)
        )  # fmt: skip
        self.scale, self.head = nn.Parameter(torch.full((d,), 0.5)), nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for depth, norm, up, down in self.blocks:
            y = down(F.gelu(up(norm(depth(x).permute(0, 2, 3, 1)))))
            x = x + (self.scale * y).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3)))


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 10)
    )


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def _autoencoder() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 64))


def _images(N: int) -> Tensor:
    return torch.randn(N, 3, 32, 32, dtype=torch.float64)


def _sentences(N: int) -> dict[str, Tensor]:
    mask = (torch.arange(16) < torch.randint(4, 17, (N, 1))).long()
    return {"input_ids": torch.randint(1, 200, (N, 16)) * mask, "attention_mask": mask}


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any], int]] = {
    "MLP": (_mlp, lambda N: torch.randn(N, 64, dtype=torch.float64), 128),
    "autoencoder": (_autoencoder, lambda N: torch.randn(N, 64, dtype=torch.float64), 64),
    "CNN": (_cnn, _images, 64),
    "ResNet-18, width 4": (lambda: ResNet18(4), _images, 48),
    "ResNet-18, width 16": (lambda: ResNet18(16), _images, 24),
    "ConvNeXt": (ConvNeXt, _images, 64),
    "Mixer": (Mixer, lambda N: torch.randn(N, 16, 48, dtype=torch.float64), 64),
    "ViT, d = 24": (lambda: ViT(24, 2), _images, 64),
    "ViT, d = 24, patches of 8": (lambda: ViT(24, 2, 8), _images, 64),
    "ViT, d = 96": (lambda: ViT(96, 2, 8), _images, 48),
    "BERT, d = 32": (lambda: Bert(200, 32, 2), _sentences, 64),
    "BERT, d = 128": (lambda: Bert(200, 128, 2), _sentences, 32),
    "LSTM": (lambda: Tagger(200, 16, 32), lambda N: torch.randint(0, 200, (N, 12)), 64),
}  # fmt: skip


def _seconds(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        made = run()
        best = min(best, time.process_time() - start)
    return best, made


def measure(case: str) -> dict[str, Any]:
    """Every way of one case, in this process."""
    torch.manual_seed(0)
    make, data, N = CASES[case]
    model, X = make().eval().double(), data(N)
    inputs = tuple(X.values()) if isinstance(X, dict) else (X,)
    names = list(dict(model.named_parameters()))
    ways: dict[str, Callable[[], Tensor]] = {
        "ntkscope": lambda: ntk.empirical_ntk(model, X).dense(),
        "unchecked": lambda: ntk.empirical_ntk(model, X, self_check=False).dense(),
        "general": lambda: ntk.empirical_ntk(model, X, general=True).dense(),
        "vmap": lambda: added(by_vmap(model, inputs, names)),
        "loop": lambda: added(by_loop(model, inputs, names)),
    }
    row: dict[str, Any] = {"case": case, "N": N}
    found: dict[str, Tensor] = {}
    for way, run in ways.items():
        try:
            row[way], found[way] = _seconds(run)
        except RuntimeError:  # vmap does not take the pass
            row[way] = None
    plainest = min(row[way] for way in ("vmap", "loop") if row[way] is not None)
    K = found["ntkscope"]
    row["times_faster"] = plainest / row["ntkscope"]
    row["times_faster_general"] = plainest / row["general"]
    row["difference"] = float((K - found["loop"]).abs().max() / K.abs().max())
    return row


def main(cases: tuple[str, ...] = tuple(CASES)) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for case in cases:
        rows.append(measure(case))
        print(json.dumps(rows[-1]), flush=True)
    if len(cases) == len(CASES):
        record("ways", rows)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main(tuple(case for case in CASES if case in sys.argv) or tuple(CASES))
