"""Models whose layers use tensors made of parameters alone."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations


class ShiftedScale(nn.Module):
    """RMSNorm with the scale 1 + w, as Gemma has it."""

    def __init__(self, d=4):
        super().__init__()
        self.first, self.w = nn.Linear(3, d), nn.Parameter(0.1 * torch.randn(d))
        self.last = nn.Linear(d, 2)

    def forward(self, x):
        h = self.first(x)
        h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.w)
        return self.last(torch.tanh(h)).mean(1)


class ContinuousBias(nn.Module):
    """Attention of unit queries and keys, a learned temperature, and a bias of relative positions that a
    small network makes, as in Swin's second version."""

    def __init__(self, d=3, tokens=3):
        super().__init__()
        self.q, self.k = nn.Linear(d, 4), nn.Linear(d, 4)
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.bias = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 1, bias=False))
        self.head = nn.Linear(d, 2)
        self.register_buffer("places", torch.randn(5, 2))
        self.register_buffer("index", torch.randint(0, 5, (tokens**2,)))

    def forward(self, x):
        scores = F.normalize(self.q(x), dim=-1) @ F.normalize(self.k(x), dim=-1).mT
        table = 16 * torch.sigmoid(self.bias(self.places))
        n = x.shape[1]
        scores = scores * self.scale.clamp(max=4.6).exp() + table[self.index].view(n, n)
        return self.head(scores.softmax(-1) @ x).mean(1)


class RelativeKeys(nn.Module):
    """Scores of places that keys make as those of contents, repeated for every sample's heads, as in DeBERTa."""

    def __init__(self, times=1, d=4, heads=2, tokens=3):
        super().__init__()
        self.times, self.heads = times, heads
        self.q, self.k = nn.Linear(d, d), nn.Linear(d, d)
        self.places, self.norm = nn.Embedding(2 * tokens, d), nn.LayerNorm(d)
        self.head = nn.Linear(d, 2)
        at = torch.arange(tokens)
        self.register_buffer("offsets", at[:, None] - at + tokens)

    def by_head(self, x):
        """(n·heads, tokens, d/heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, x):
        n = len(x)
        q, k = self.by_head(self.q(x)), self.by_head(self.k(x))
        keys = self.by_head(self.k(self.norm(self.places.weight)[None]))
        keys = keys.repeat(self.times * n, 1, 1).unflatten(0, (n, self.times, self.heads))
        keys = keys.mean(1).flatten(0, 1)
        scores = q @ k.mT + (q @ keys.mT).gather(-1, self.offsets.expand(len(q), -1, -1))
        mixed = scores.softmax(-1) @ self.by_head(x)
        return self.head(mixed.unflatten(0, (n, self.heads)).transpose(1, 2).flatten(2)).mean(1)


class DoRA(nn.Module):
    """A frozen matrix and a low-rank one, normed by rows and scaled; ``merged`` into one matrix, or PEFT's."""

    def __init__(self, merged, d=4, out=5):
        super().__init__()
        self.merged, self.base = merged, nn.Linear(d, out)
        self.A, self.B = nn.Linear(d, 2, bias=False), nn.Linear(2, out, bias=False)
        self.m, self.head = nn.Parameter(torch.rand(out) + 0.5), nn.Linear(out, 2)
        self.base.weight.requires_grad_(False)

    def forward(self, x):
        V = self.base.weight + self.B.weight @ self.A.weight
        size = torch.linalg.norm(V, dim=1).detach()
        if self.merged:
            h = F.linear(x, (self.m / size)[:, None] * V, self.base.bias)
        else:
            base, scale = self.base(x), (self.m / size).view(1, -1)
            h = base + (scale - 1) * base + scale * self.B(self.A(x))
        return self.head(torch.tanh(h)).mean(1)


class GeneralBesideBias(nn.Module):
    """A matrix with another use that has no structure, on vectors that were sequences."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(8, 3)

    def forward(self, x):
        y = self.last(torch.tanh(self.first(x)).flatten(1))
        return y * (1 + (self.last.weight * 1.0).mul_(2.0).square().sum())


def _normed(norm):
    return nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), nn.Flatten(), norm(nn.Linear(8, 2)))


def zoo():
    sequences = {
        "weight-norm": _normed(parametrizations.weight_norm),
        "spectral-norm": _normed(parametrizations.spectral_norm),
        "orthogonal": _normed(parametrizations.orthogonal),
        "weight-norm-convolution": nn.Sequential(
            parametrizations.weight_norm(nn.Conv1d(2, 3, 2)), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2)
        ),
        "shifted-scale": ShiftedScale(),
        "general-beside-bias": GeneralBesideBias(),
    }  # fmt: skip
    return {
        **{name: (model, lambda n: torch.randn(n, 2, 3)) for name, model in sequences.items()},
        "continuous-bias": (ContinuousBias(), lambda n: torch.randn(n, 3, 3)),
        "relative-keys": (RelativeKeys(), lambda n: torch.randn(n, 3, 4)),
        "relative-keys-twice": (RelativeKeys(times=2), lambda n: torch.randn(n, 3, 4)),
        "dora": (DoRA(merged=False), lambda n: torch.randn(n, 2, 4)),
        "dora-merged": (DoRA(merged=True), lambda n: torch.randn(n, 2, 4)),
    }
