"""Layers that round to float32 inside a float64 model, as some norms do: their kernel to float32's accuracy."""

import pytest
import test_module_walk as walks
import torch
from torch import nn

import ntkscope as ntk
from oracles import module_ntk


class Rounded(nn.Module):
    """A scale 1 + w and two layers, in float32 between float64 ones; ``asks`` reads a value of the pass."""

    def __init__(self, asks):
        super().__init__()
        self.first, self.scale = nn.Linear(4, 5), nn.Parameter(torch.randn(5) / 8)
        self.mix, self.rows = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.randn(5, 5))
        self.head, self.asks = nn.Linear(5, 3), asks

    def forward(self, x):
        y = torch.tanh(self.first(x)).float()
        y = y * (1.0 + self.scale.float())
        y = y @ self.mix.float() + nn.functional.linear(y, self.rows.float())
        if self.asks and bool((x > 100).all()):
            y = 2 * y
        return self.head(torch.tanh(y).double().mean(1))


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("walked", [False, True])
def test_its_kernel(walked, asks, monkeypatch):
    if walked:
        walks.force(monkeypatch, everything=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Rounded(asks).double(), torch.randn(8, 6, 4, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    exact = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert K.dtype == torch.float64
    assert float((K.dense() - exact).abs().max()) <= 1e-6 * float(exact.abs().max())
