"""Wide modules approach their limit like width^(−1/2): the test that needs no other library."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk

N = 4


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, 2, 4, 4, dtype=torch.float64, generator=generator)


def conv(n, m):
    return nn.Conv2d(n, m, 3, padding=1)


class Branches(nn.Module):
    def __init__(self, stem, one, two, end, join):
        super().__init__()
        self.stem, self.one, self.two, self.end, self.join = stem, one, two, end, join

    def forward(self, x):
        h = self.stem(x)
        return self.end(self.join(self.one(h), self.two(h)))


def end(w):
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w, 1)]


def cat(a, b):
    return torch.cat([a, b], 1)


BUILDERS = {
    "flatten": lambda w: nn.Sequential(conv(2, w), nn.ReLU(), nn.Flatten(), nn.Linear(16 * w, 1)),
    "global pool": lambda w: nn.Sequential(conv(2, w), nn.ReLU(), conv(w, w), nn.GELU(), *end(w)),
    "pool between": lambda w: nn.Sequential(
        conv(2, w), nn.Tanh(), nn.AvgPool2d(2), conv(w, w), nn.ReLU(), *end(w)
    ),
    "residual": lambda w: Branches(
        conv(2, w), nn.Sequential(nn.ReLU(), conv(w, w)), nn.Identity(),
        nn.Sequential(nn.ReLU(), *end(w)), torch.add,
    ),
    "concatenation": lambda w: Branches(
        conv(2, w), nn.ReLU(), nn.Tanh(),
        nn.Sequential(conv(2 * w, w), nn.ReLU(), *end(w)), cat,
    ),
    "group norm": lambda w: nn.Sequential(
        conv(2, w), nn.GroupNorm(2, w), nn.ReLU(), conv(w, w), nn.ReLU(), *end(w)
    ),
    "layer norm": lambda w: nn.Sequential(
        nn.Flatten(), nn.Linear(32, w), nn.LayerNorm(w), nn.SiLU(), nn.Linear(w, 1)
    ),
    "groups and strides": lambda w: nn.Sequential(
        conv(2, w), nn.ReLU(), nn.Conv2d(w, w, 3, 2, 1, groups=2), nn.ReLU(), *end(w)
    ),
}  # fmt: skip


def gaussian(model, seed):
    """Weights N(0, 2/n), biases N(0, 0.1), and the variances that say so."""
    generator = torch.Generator().manual_seed(seed)
    variances = {}
    for name, p in model.double().named_parameters():
        if p.ndim > 1:
            variances[name] = 2 / p[0].numel()
        elif name.endswith("bias") and "norm" not in name.lower():
            variances[name] = 0.1
    for path, module in model.named_modules():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            variances.pop(f"{path}.bias")
    for name, p in model.named_parameters():
        if name in variances:
            draw = torch.randn(p.shape, dtype=p.dtype, generator=generator)
            p.data = draw * math.sqrt(variances[name])
    return model.eval(), variances


def distances(builder, width, draws):
    found, limit = [], None
    for seed in range(draws):
        model, variances = gaussian(builder(width), 1000 * width + seed)
        if limit is None:  # the same for all draws
            limit = ntk.limiting_ntk(model, images(), variances=variances)
        finite = ntk.empirical_ntk(model, images(), self_check=False).dense()
        found.append(float((finite - limit).norm() / limit.norm()))
    return math.sqrt(np.mean(np.square(found)))


def exponent(builder, widths, draws):
    sizes = [distances(builder, w, draws) for w in widths]
    return np.polyfit(np.log(widths), np.log(sizes), 1)[0]


# the root mean square over d draws is known to about 1/√(2d); over a factor r of widths that moves
# the exponent by √2/(√(2d) ln r): 0.12 at d = 16, r = 8, and 0.09 at r = 16
@pytest.mark.parametrize("name", ["global pool", "residual"])
def test_exponent(name):
    assert abs(exponent(BUILDERS[name], (8, 64), 16) + 0.5) < 0.27


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_exponents(name):
    assert abs(exponent(BUILDERS[name], (32, 512), 16) + 0.5) < 0.2
