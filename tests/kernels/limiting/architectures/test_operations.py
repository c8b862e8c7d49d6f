"""Operations one by one: against formulas written out, or another operation that does the same."""

import math

import pytest
import torch
from torch import nn

import ntkscope as ntk


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawn(model, seed=0):
    for i, p in enumerate(model.parameters()):
        if p.ndim > 1:
            p.data = gaussian(*p.shape, seed=seed + i) * math.sqrt(2 / p[0].numel())
    return model.double().eval()


def close(got, want):
    scale = want.diagonal().sqrt()
    assert float(((got - want).abs() / (scale[:, None] * scale)).max()) <= 1e-13


def square(p):
    return float(p.detach().double().square().mean())


# -- a linear layer, an operation, ReLU, a linear layer: S and T by hand -------------------------------

NORMS = {
    "rms norm": (nn.RMSNorm, True, False, "sample"),
    "layer norm": (nn.LayerNorm, True, True, "sample"),
    "batch norm": (nn.BatchNorm1d, True, True, "fixed"),
    "layer norm without parameters": (
        lambda n: nn.LayerNorm(n, elementwise_affine=False), False, False, "sample",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_norm(name):
    make, scale, shift, over = NORMS[name]
    X = gaussian(7, 12)
    model = drawn(nn.Sequential(nn.Linear(12, 40), make(40), nn.ReLU(), nn.Linear(40, 1)))
    first, norm, _, last = model
    S = square(first.weight) * X @ X.T + square(first.bias)
    T = X @ X.T + 1
    eps = norm.eps if norm.eps is not None else torch.finfo(torch.float64).eps
    v = S.diagonal() + eps if over == "sample" else torch.full((7,), 1 + eps, dtype=S.dtype)
    shrink = torch.rsqrt(v[:, None] * v)
    S, T = S * shrink, T * shrink
    T = T + (S if scale else 0) + (1 if shift else 0)
    V = S.diagonal()
    dual = ntk.dual_activation("relu", V[:, None], V, S)
    beta = square(last.weight)
    close(
        ntk.limiting_ntk(model, X),
        40 * beta * T * dual.derivative + 40 * dual.value + 1,
    )
    close(ntk.limiting_ntk(model, X, get="nngp"), 40 * beta * dual.value + square(last.bias))


@pytest.mark.parametrize("pooled", [False, True])
def test_embedding(pooled):
    """Bags of tokens: K depends on how many of them agree."""
    tokens = torch.randint(0, 5, (9, 6), generator=torch.Generator().manual_seed(0))

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 30)
            self.end = nn.Linear(30 if pooled else 180, 1, bias=False)

        def forward(self, x):
            h = self.table(x)
            return self.end(h.mean(1) if pooled else h.flatten(1))

    model = drawn(Bag())
    equal = (tokens[:, None, :, None] == tokens[None, :, None, :]).double()
    same = equal.mean((2, 3)) if pooled else equal.diagonal(0, 2, 3).sum(-1)
    table, end = square(model.table.weight), square(model.end.weight)
    close(ntk.limiting_ntk(model, tokens), 30 * (end + table) * same)
    close(ntk.limiting_ntk(model, tokens, get="nngp"), 30 * end * table * same)


# -- convolutions of other dimensions ------------------------------------------------------------------


def convolutions(d, window, padding, pooled):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[d - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[d - 1]
    end = [pool(1), nn.Flatten(), nn.Linear(6, 1)] if pooled else [nn.Flatten(), nn.Linear(72, 1)]
    return nn.Sequential(
        conv(2, 6, window, padding=padding), nn.ReLU(), conv(6, 6, window, padding=padding),
        nn.ReLU(), *end,
    ).double()  # fmt: skip


def alike(one, two):
    """The weights of ``one`` for ``two``, whose windows have further axes of one position."""
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        q.data = p.data.reshape(q.shape)
    return two


@pytest.mark.parametrize("pooled", [False, True])
def test_convolutions_along_one_axis(pooled):
    X = gaussian(5, 2, 12)
    line = drawn(convolutions(1, 3, 1, pooled))
    want = ntk.limiting_ntk(line, X)
    plane = alike(line, convolutions(2, (1, 3), (0, 1), pooled))
    space = alike(line, convolutions(3, (1, 3, 1), (0, 1, 0), pooled))
    close(ntk.limiting_ntk(plane, X[:, :, None]), want)
    close(ntk.limiting_ntk(space, X[:, :, None, :, None]), want)


def test_convolutions_in_space():
    """The order of the axes is nothing to a cube's window, and of one slice it sees a square's."""
    X = gaussian(3, 2, 2, 2, 3)
    model = drawn(convolutions(3, 3, 1, True))
    close(ntk.limiting_ntk(model, X.permute(0, 1, 4, 2, 3)), ntk.limiting_ntk(model, X))
    slices = X[..., 0]
    variances = {name: square(p) for name, p in model.named_parameters()}
    plane = ntk.limiting_ntk(convolutions(2, 3, 1, True), slices, variances=variances)
    close(ntk.limiting_ntk(model, slices[..., None]), plane)
