"""Small twins of well-known architectures, in plain torch, with what makes each of them awkward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

D, WORDS = 6, 11


class GroupNormBlock(nn.Module):
    """ResNet with GroupNorm: a strided block, a projection beside it, in-place sums."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(2, 4, 3, 2, 1, bias=False),
            nn.Conv2d(4, 4, 3, 1, 1, bias=False),
        )
        self.norm1, self.norm2, self.short = (
            nn.GroupNorm(2, 4),
            nn.GroupNorm(2, 4),
            nn.Conv2d(2, 4, 1, 2),
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        y += self.short(x)
        return self.head(F.relu(y).mean((2, 3)))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions for more patches than there are, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, D, 2, 2)
        self.start, self.places = (
            nn.Parameter(torch.randn(1, 1, D)),
            nn.Parameter(torch.randn(1, 30, D)),
        )
        self.norm, self.inner = nn.LayerNorm(D), nn.MultiheadAttention(D, 2, batch_first=True)
        self.gain, self.head = nn.Parameter(torch.randn(D)), nn.Linear(D, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        x = x + self.places[:, : x.shape[1]]
        y = self.norm(x)
        return self.head(
            (x + self.gain.view(1, 1, -1) * self.inner(y, y, y, need_weights=False)[0])[:, 0]
        )


class MaskedBert(nn.Module):
    """Asks whether the mask hides anything; a table of more positions than are used, by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (
            nn.Embedding(WORDS, D, 0),
            nn.Embedding(40, D),
            nn.Embedding(2, D),
        )
        self.register_buffer("ids", torch.arange(40)[None])
        self.norm, self.q, self.k, self.v, self.head = (
            nn.LayerNorm(D),
            *(nn.Linear(D, D) for _ in range(3)),
            nn.Linear(D, 2),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, T = x.shape
        h = self.words(x) + self.places(self.ids[:, :T]) + self.kinds(torch.zeros_like(x))
        h = self.norm(h)
        hidden = None if mask.all() else mask[:, None, None, :].bool()
        q, k, v = (f(h).view(n, T, 2, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        h = h + F.scaled_dot_product_attention(q, k, v, attn_mask=hidden).transpose(1, 2).reshape(
            n, T, D
        )
        return self.head(torch.tanh(h[:, 0]))


class Conv1D(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(inside, outside)),
            nn.Parameter(torch.randn(outside)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(
            *x.shape[:-1], -1
        )


class CausalGpt(nn.Module):
    """``addmm`` layers, a causal mask, positions by ``arange``, all logits through the words' own table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, D), nn.Embedding(16, D)
        self.attend, self.out, self.norm = Conv1D(D, 3 * D), Conv1D(D, D), nn.LayerNorm(D)

    def forward(self, x: Tensor) -> Tensor:
        n, T = x.shape
        h = self.words(x) + self.places(torch.arange(T, device=x.device))
        q, k, v = self.attend(self.norm(h)).view(n, T, 3, 2, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(y.transpose(1, 2).reshape(n, T, D))
        return F.linear(h, self.words.weight)


class RotaryLlama(nn.Module):
    """RMSNorm by hand, rotary positions, a shared key, a gated MLP; reads a value on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.gain = nn.Embedding(WORDS, D), nn.Parameter(torch.randn(D))
        self.q, self.k, self.v = (nn.Linear(D, out, bias=False) for out in (D, 2, 2))
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((D, 8), (D, 8), (8, D))
        )
        self.head = nn.Linear(D, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, T = x.shape
        h = self.words(x)
        if (torch.arange(T, device=x.device)[None] < 0).any():
            h = h * 2
        y = self.gain.to(h.dtype) * (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6))
        angle = torch.arange(T, device=x.device)[:, None] / 10.0
        q, k = (torch.cat([t[..., :1] * angle.cos() - t[..., 1:] * angle.sin(),
                           t[..., :1] * angle.sin() + t[..., 1:] * angle.cos()], -1)
                for t in (self.q(y).view(n, T, 3, 2).transpose(1, 2), self.k(y)[:, None]))  # fmt: skip
        h = h + F.scaled_dot_product_attention(q, k.expand_as(q), self.v(y)[:, None].expand_as(q), is_causal=True) \
            .transpose(1, 2).reshape(n, T, D)  # fmt: skip
        return self.head((h + self.down(F.silu(self.gate(h)) * self.up(h)))[:, -1])


class Windowed(nn.Module):
    """Swin: windows of a picture with its channels last, a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.norm = nn.Linear(2, D), nn.Linear(D, 3 * D), nn.LayerNorm(D)
        self.table, self.head = nn.Parameter(torch.randn(9, 2)), nn.Linear(D, 2)
        rows = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(
            1
        )
        apart = (rows[:, :, None] - rows[:, None]) + 1
        self.register_buffer("index", (apart[0] * 3 + apart[1]).flatten())

    def forward(self, x: Tensor) -> Tensor:
        n, H, W, _ = x.shape
        h = self.norm(self.embed(x))
        windows = h.view(n, H // 2, 2, W // 2, 2, D).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, D)
        q, k, v = self.mix(windows).view(len(windows), 4, 3, 2, -1).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].view(4, 4, -1).permute(2, 0, 1).contiguous()
        y = ((q @ k.mT + bias.unsqueeze(0)).softmax(-1) @ v).transpose(1, 2).reshape(n, -1, D)
        return self.head(y.mean(1))


class ConvNextBlock(nn.Module):
    """Depthwise, then linear layers with channels last, and a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(2, D, 2, 2), nn.Conv2d(D, D, 3, padding=1, groups=D)
        self.norm, self.up, self.down = nn.LayerNorm(D), nn.Linear(D, 8), nn.Linear(8, D)
        self.gain, self.head = nn.Parameter(torch.randn(D)), nn.Linear(D, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.down(F.gelu(self.up(self.norm(self.deep(x).permute(0, 2, 3, 1)))))
        return self.head((x + (self.gain * y).permute(0, 3, 1, 2)).mean((2, 3)))


class InvertedResidual(nn.Module):
    """MobileNet: expand, depthwise, squeeze and excite, project, with BatchNorm in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.deep = (
            nn.Conv2d(2, 8, 1, bias=False),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False),
        )
        self.norm, self.squeeze, self.excite = (
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 2, 1),
            nn.Conv2d(2, 8, 1),
        )
        self.project, self.head = nn.Conv2d(8, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.deep(F.hardswish(self.expand(x)))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(self.project(x).mean((2, 3)))


class Tagger(nn.Module):
    """An LSTM in both directions, a logit for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.inner = (
            nn.Embedding(WORDS, 4),
            nn.LSTM(4, 3, batch_first=True, bidirectional=True),
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.words(x))[0])


class Experts(nn.Module):
    """Top-1 of three experts; the gate and the head are layers of every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(D, 3), nn.ModuleList(nn.Linear(D, D) for _ in range(3))
        self.head = nn.Linear(D, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.gate(x).softmax(-1).max(-1)
        y = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            (rows,) = torch.where(chosen == e)
            if len(rows):
                y = y.index_add(0, rows, weight[rows, None] * torch.tanh(expert(x[rows])))
        return self.head(y + x)


class Standardised(nn.Module):
    """NFNet: weights standardised by ``batch_norm``, which sees no sample, and a gain."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gain, self.head = (
            nn.Conv2d(2, 4, 3),
            nn.Parameter(torch.randn(4, 1, 1, 1)),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        w = self.conv.weight
        w = F.batch_norm(
            w.reshape(1, 4, -1), None, None, self.gain.view(-1), training=True, momentum=0.0
        )
        return self.head(
            F.gelu(F.conv2d(x, w.reshape(self.conv.weight.shape), self.conv.bias)).mean((2, 3))
        )


class Graph(nn.Module):
    """GCN: X W, then a sparse adjacency along the nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(3, D)), nn.Parameter(torch.randn(D, 2))
        self.bias = nn.Parameter(torch.randn(D))
        self.register_buffer("edges", torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]]))

    def forward(self, x: Tensor) -> Tensor:
        source, target = self.edges
        h = torch.matmul(x, self.first)
        h = torch.zeros_like(h).index_add(1, target, h[:, source]) + self.bias
        return torch.matmul(torch.relu(h), self.second).mean(1)


class Translator(nn.Module):
    """Cross attention: one packed projection used in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.TransformerDecoderLayer(D, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(D, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.head(self.inner(x, memory).mean(1))


def _pictures(n: int) -> Tensor:
    return torch.randn(n, 2, 6, 6)


def _words(n: int) -> Tensor:
    return torch.randint(1, WORDS, (n, 4))


def _masked(n: int) -> tuple[Tensor, Tensor]:
    mask = (torch.arange(4) < torch.tensor([4, *([2, 3, 4] * n)][:n])[:, None]).long()
    return _words(n) * mask, mask


# name → (model, a function of N that gives its inputs, the parameters that have no structured form)
TWINS = {
    "ResNet block with GroupNorm": (GroupNormBlock, _pictures, ()),
    "ViT block": (VisionTransformer, _pictures, ()),
    "BERT with a mask": (MaskedBert, _masked, ()),
    "GPT with all logits": (CausalGpt, _words, ()),
    "Llama": (RotaryLlama, _words, ()),
    "Swin": (Windowed, lambda n: torch.randn(n, 4, 4, 2), ()),
    "ConvNeXt block": (ConvNextBlock, _pictures, ()),
    "MobileNet block": (InvertedResidual, _pictures, ()),
    "LSTM tagger": (Tagger, _words, ()),
    "mixture of experts": (Experts, lambda n: torch.randn(n, D), ("experts",)),
    "NFNet convolution": (Standardised, _pictures, ("conv.weight", "gain")),
    "GCN": (Graph, lambda n: torch.randn(n, 4, 3), ()),
    "decoder": (Translator, lambda n: (torch.randn(n, 3, D), torch.randn(n, 2, D)), ()),
}
