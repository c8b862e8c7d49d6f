"""Models that the tests draw from: every layer alone, shared weights, and awkward ones."""

import torch
import torch.nn.functional as F
from torch import nn

from oracles import derived_models


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self, d=6, h=4):
        super().__init__()
        self.encoder = nn.Linear(d, h)
        self.bias = nn.Parameter(torch.randn(d))

    def forward(self, x):
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t(), self.bias)


class Twice(nn.Module):
    """One module called twice."""

    def __init__(self, d=5):
        super().__init__()
        self.inner = nn.Linear(d, d)
        self.last = nn.Linear(d, 2)

    def forward(self, x):
        return self.last(torch.relu(self.inner(torch.relu(self.inner(x)))))


class TiedEmbedding(nn.Module):
    """A language model whose output layer is its embedding."""

    def __init__(self, words=9, d=4):
        super().__init__()
        self.embedding = nn.Embedding(words, d)
        self.mix = nn.Linear(d, d)
        self.head = nn.Linear(d, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.embedding(x))).mean(1))


class Recurrent(nn.Module):
    """A cell applied at every step."""

    def __init__(self, d=3, h=4):
        super().__init__()
        self.cell = nn.RNNCell(d, h)
        self.last = nn.Linear(h, 2)

    def forward(self, x):
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.last(h)


class Residual(nn.Module):
    """Convolutions, eval-mode BatchNorm, in-place ReLU and an in-place sum."""

    def __init__(self, c=4, outputs=3):
        super().__init__()
        self.stem = nn.Conv2d(1, c, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(c)
        self.inner = nn.Conv2d(c, c, 3, padding=1, groups=2)
        self.down = nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)
        self.group = nn.GroupNorm(2, 2 * c)
        self.head = nn.Linear(2 * c, outputs)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.inner(x)
        y += x
        x = F.relu(self.group(self.down(y)))
        return self.head(x.mean((2, 3)))


class Elementwise(nn.Module):
    """Parameters that scale, shift, and multiply from the right."""

    def __init__(self, d=5):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(d))
        self.shift = nn.Parameter(torch.randn(1, d))
        self.less = nn.Parameter(torch.randn(d))
        self.matrix = nn.Parameter(torch.randn(d, 3))
        self.gain = nn.Parameter(torch.randn(()))

    def forward(self, x):
        h = torch.tanh(self.scale * x + self.shift) - self.less
        return self.gain * (h @ self.matrix)


class Positions(nn.Module):
    """Token and position embeddings, attention, a pooled head."""

    def __init__(self, words=9, tokens=4, d=6, heads=2):
        super().__init__()
        self.words = nn.Embedding(words, d)
        self.places = nn.Parameter(torch.randn(tokens, d))
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True)
        self.head = nn.Linear(d, 2)

    def forward(self, x):
        h = self.words(x) + self.places
        h = h + self.attention(h, h, h, need_weights=False)[0]
        return self.head(h.mean(1))


class Branching(nn.Module):
    """Control flow that depends on the data, sample by sample."""

    def __init__(self, d=4):
        super().__init__()
        self.first = nn.Linear(d, d)
        self.second = nn.Linear(d, 2)

    def forward(self, x):
        h = self.first(x)
        bent = [torch.tanh(row) if float(row.detach().sum()) > 0 else row for row in h]
        return self.second(torch.stack(bent))


class Tokens(nn.Module):
    """A class token for every sample, positions by slice and by row, a scale in another shape."""

    def __init__(self, d=4, places=6):
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, d))
        self.places = nn.Parameter(torch.randn(1, places, d))
        self.row = nn.Parameter(torch.randn(2, d))
        self.gain = nn.Parameter(torch.randn(d))
        self.inner = nn.Linear(d, d)

    def forward(self, x):
        x = torch.cat([self.start.expand(len(x), -1, -1), x], 1)
        x = x + self.places[:, : x.shape[1]] + self.row[1]
        return torch.tanh(self.inner(x) * self.gain.reshape(1, 1, -1)).mean(1)


class Product(nn.Module):
    """GPT-2's Conv1D, and a matrix in an ``einsum``."""

    def __init__(self, d=4, h=3):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(d, h)), nn.Parameter(torch.randn(h))
        self.out = nn.Parameter(torch.randn(2, h))

    def forward(self, x):
        y = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        y = torch.tanh(y).view(*x.shape[:-1], -1)
        return torch.einsum("ntd,kd->ntk", y, self.out).sum(1)


class Gather(nn.Module):
    """Rows of a parameter by the samples' own numbers: a view of it that differs by sample."""

    def __init__(self, words=5, d=3):
        super().__init__()
        self.table = nn.Parameter(torch.randn(words, d))
        self.shift = nn.Parameter(torch.randn(words))

    def forward(self, x):
        return torch.tanh(self.table[x] + self.shift[x][..., None]).sum(1)


class Unrolled(nn.Module):
    """The cells of torch, one after another."""

    def __init__(self, d=3, h=4):
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(d, h), nn.GRUCell(h, h)
        self.relu = nn.RNNCell(h, 2, nonlinearity="relu", bias=False)

    def forward(self, x):
        state = (x.new_zeros(len(x), 4), x.new_zeros(len(x), 4))
        g, r = x.new_zeros(len(x), 4), x.new_zeros(len(x), 2)
        for t in range(x.shape[1]):
            state = self.lstm(x[:, t], state)
            g = self.gru(state[0], g)
            r = self.relu(g, r)
        return torch.cat([r, g[:, :1]], 1)


class Packed(nn.Module):
    """Sequences of two lengths in a packed batch, which stays closed."""

    def __init__(self):
        super().__init__()
        self.inner = nn.GRU(3, 2, batch_first=True)

    def forward(self, x):
        lengths = torch.full((len(x),), 2)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.inner(packed)[1][0]


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten())


# name → (model, a function of N that gives its inputs)
def zoo():
    normal = torch.randn
    return {
        "linear": (nn.Linear(5, 3), lambda n: normal(n, 5)),
        "linear-no-bias": (nn.Linear(5, 1, bias=False), lambda n: normal(n, 5)),
        "linear-sequence": (
            flat(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)),
            lambda n: normal(n, 4, 5),
        ),
        "conv1d": (flat(nn.Conv1d(2, 3, 3, stride=2, padding=1)), lambda n: normal(n, 2, 7)),
        "conv2d": (
            flat(nn.Conv2d(2, 3, (3, 2), padding=(1, 0), dilation=(2, 1))),
            lambda n: normal(n, 2, 6, 5),
        ),
        "conv2d-groups": (
            flat(nn.Conv2d(4, 6, 3, groups=2, bias=False)),
            lambda n: normal(n, 4, 4, 5),
        ),
        "conv2d-depthwise": (flat(nn.Conv2d(3, 6, 2, groups=3)), lambda n: normal(n, 3, 4, 4)),
        "conv2d-same": (
            flat(nn.Conv2d(2, 3, 4, padding="same"), nn.Tanh()),
            lambda n: normal(n, 2, 5, 4),
        ),
        "conv2d-circular": (
            flat(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")),
            lambda n: normal(n, 2, 4, 4),
        ),
        "conv2d-one-by-one": (
            flat(nn.Conv2d(7, 6, 1), nn.Tanh(), nn.Conv2d(6, 5, 2)),
            lambda n: normal(n, 7, 2, 2),
        ),
        "conv3d": (flat(nn.Conv3d(2, 2, 2, stride=(1, 2, 1))), lambda n: normal(n, 2, 3, 4, 3)),
        "conv-transpose": (flat(nn.ConvTranspose2d(2, 3, 2)), lambda n: normal(n, 2, 3, 3)),
        "embedding": (
            flat(nn.Embedding(7, 3, padding_idx=1)),
            lambda n: torch.randint(0, 7, (n, 4)),
        ),
        "layer-norm": (nn.LayerNorm(6), lambda n: normal(n, 6)),
        "layer-norm-2d": (flat(nn.LayerNorm((3, 4)), nn.Tanh()), lambda n: normal(n, 2, 3, 4)),
        "group-norm": (flat(nn.GroupNorm(2, 4)), lambda n: normal(n, 4, 3)),
        "instance-norm": (flat(nn.InstanceNorm1d(3, affine=True)), lambda n: normal(n, 3, 5)),
        "instance-norm-in-place": (
            flat(nn.InstanceNorm2d(3, affine=True), nn.LeakyReLU(inplace=True)),
            lambda n: normal(n, 3, 2, 3),
        ),
        "rms-norm": (flat(nn.RMSNorm(5)), lambda n: normal(n, 3, 5)),
        "batch-norm": (_with_statistics(nn.BatchNorm2d(3)), lambda n: normal(n, 3, 2, 2)),
        "prelu": (flat(nn.Linear(4, 3), nn.PReLU(3), nn.PReLU()), lambda n: normal(n, 4)),
        "bilinear": (_Pair(), lambda n: normal(n, 6)),
        "attention": (_SelfAttention(6, 2), lambda n: normal(n, 4, 6)),
        "encoder": (
            flat(nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)),
            lambda n: normal(n, 3, 6),
        ),
        "encoder-time-first": (
            _TimeFirst(nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0)),
            lambda n: normal(n, 3, 6),
        ),
        "lstm": (_Last(nn.LSTM(3, 4, batch_first=True)), lambda n: normal(n, 3, 3)),
        "lstm-deep": (
            _Last(nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True)),
            lambda n: normal(n, 3, 3),
        ),
        "gru-time-first": (_TimeFirst(_First(nn.GRU(3, 4, bias=False))), lambda n: normal(n, 3, 3)),
        "rnn": (_Last(nn.RNN(3, 4, batch_first=True)), lambda n: normal(n, 3, 3)),
        "cells": (Unrolled(), lambda n: normal(n, 3, 3)),
        "packed": (Packed(), lambda n: normal(n, 3, 3)),
        "tokens": (Tokens(), lambda n: normal(n, 3, 4)),
        "product": (Product(), lambda n: normal(n, 3, 4)),
        "gather": (Gather(), lambda n: torch.randint(0, 5, (n, 3))),
        **derived_models.zoo(),
        "tied": (Tied(), lambda n: normal(n, 6)),
        "twice": (Twice(), lambda n: normal(n, 5)),
        "tied-embedding": (TiedEmbedding(), lambda n: torch.randint(0, 9, (n, 3))),
        "recurrent": (Recurrent(), lambda n: normal(n, 3, 3)),
        "residual": (_with_statistics(Residual()), lambda n: normal(n, 1, 6, 6)),
        "elementwise": (Elementwise(), lambda n: normal(n, 5)),
        "positions": (Positions(), lambda n: torch.randint(0, 9, (n, 4))),
        "branching": (Branching(), lambda n: normal(n, 4)),
    }


def _with_statistics(model):
    """Running statistics that are not the identity."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.normal_()
    return model


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Bilinear(3, 3, 2)

    def forward(self, x):
        return self.inner(x[:, :3], x[:, 3:])


class _SelfAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.inner = nn.MultiheadAttention(d, heads, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x)[0].flatten(1)


class _TimeFirst(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(0, 1)).mean(0)


class _First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


class _Last(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0][:, -1]
