"""Activations whose slope is kept from one output's pass back to the next."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import ntkscope as ntk
from ntkscope.kernels.module.making import prepare
from ntkscope.kernels.module.reading import slopes
from oracles import module_ntk

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "silu in place": lambda x: F.silu(x + 0, inplace=True),
}


def slope_of(activation, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(activation(x).sum(), x)[0]


def with_inner_gradient(activation, x):
    if not x.requires_grad:
        x = x.detach().requires_grad_()
    total = activation(x).sum()
    first = torch.autograd.grad(total, x, retain_graph=True)[0]  # which has no gradient
    return first + x * torch.autograd.grad(total, x, create_graph=True)[0]


def with_tangent(activation, x):
    with forward_ad.dual_level():
        made = activation(forward_ad.make_dual(x, torch.ones_like(x)))
        return forward_ad.unpack_dual(made).tangent


USES = {
    "plain": lambda f, x: f(x),
    "its slope, without a gradient": lambda f, x: x * slope_of(f, x),
    "its slope, with one": with_inner_gradient,
    "checkpointed": lambda f, x: checkpoint(f, x, use_reentrant=False),
    "its slope by torch.func": lambda f, x: x * torch.func.grad(lambda z: f(z).sum())(x),
    "each sample's": lambda f, x: x * torch.func.vmap(torch.func.grad(lambda z: f(z).sum()))(x),
    "its tangent": with_tangent,
}


class Net(nn.Module):
    def __init__(self, use, activation):
        super().__init__()
        self.use, self.activation = use, activation
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.use(self.activation, self.a(x))
        return self.c(self.use(self.activation, self.b(x)))


@pytest.mark.parametrize("walked", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("use", USES)
def test_kernels_are_the_jacobians(use, activation, walked, monkeypatch):
    monkeypatch.setattr(prepare, "LEAST", 0.0 if walked else 1e18)
    if use in ("its slope by torch.func", "each sample's") and "place" in activation:
        pytest.skip("torch.func does not take an operation in place")
    torch.manual_seed(0)
    model = Net(USES[use], ACTIVATIONS[activation]).double()
    X = torch.randn(5, 2, 4, dtype=torch.float64).flatten(1)[:, :4]
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X)
    assert float((K.dense() - expected).abs().max()) <= 1e-13 * float(expected.abs().max())


def test_a_slope_is_found_once_for_all_outputs(monkeypatch):
    found, back = [], slopes._silu_back
    monkeypatch.setattr(slopes, "_silu_back", lambda g, x: found.append(len(x)) or back(g, x))
    model = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 8)).double()
    ntk.empirical_ntk(model, torch.randn(50, 4, dtype=torch.float64)).dense()
    assert 1 <= found.count(50) <= torch.get_num_threads()  # of 8 outputs
    found.clear()
    ntk.empirical_ntk(model, torch.randn(50, 4, dtype=torch.float64), reduce=0).dense()
    assert found == []  # one pass back
