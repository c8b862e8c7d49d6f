"""The bound of what D = ∂W/∂θ does to rounding errors, against D itself."""

import pytest
import torch
from torch import nn
from torch.func import vjp
from torch.nn.utils import parametrizations

import ntkscope as ntk
from ntkscope.kernels.module.reading import jacobian_norm
from oracles import module_ntk


def largest(D):
    return float(torch.linalg.matrix_norm(D.abs(), 2))


def hidden(n):
    """A map whose largest direction, ten times the others, is orthogonal to the first vector of seed 0."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n, generator=generator, dtype=torch.float64)
    top = torch.randn(n, generator=generator, dtype=torch.float64)
    top -= start * (top @ start) / (start @ start)
    top /= top.norm()
    return torch.eye(n, dtype=torch.float64) + 9 * top[:, None] * top, start


@pytest.mark.parametrize("formed", [True, False])
def test_it_bounds_what_a_power_iteration_misses(formed, monkeypatch):
    if not formed:
        monkeypatch.setattr(jacobian_norm, "_WHOLE", 0)
    D, start = hidden(40)
    g = start
    for _ in range(8):
        g = D @ (D.T @ (g / g.norm()))
    assert 2 * float(g.norm()) ** 0.5 < 0.5 * float(torch.linalg.matrix_norm(D, 2))
    found = jacobian_norm.amplification(D[0], lambda g: D.T @ g, 40)
    frobenius = float(torch.linalg.matrix_norm(D))
    assert largest(D) <= found <= (1.01 if formed else 9) * frobenius


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5)])
def test_it_bounds_maps_of_any_shape_and_sign_in_slices(shape, monkeypatch):
    monkeypatch.setattr(jacobian_norm, "_ROWS", 2 * max(shape))
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        D = torch.randn(shape, generator=generator, dtype=torch.float64) ** 3
        found = jacobian_norm.amplification(D[:, 0], lambda g, D=D: D.T @ g, shape[1])
        mixed = float(D.abs().sum(0).max() * D.abs().sum(1).max()) ** 0.5
        assert largest(D) <= found
        assert found == pytest.approx(min(mixed, float(torch.linalg.matrix_norm(D))), rel=1e-6)


def test_a_weight_norm_is_bounded_row_by_row():
    torch.manual_seed(0)
    layer = parametrizations.weight_norm(nn.Linear(6, 5)).double()
    v = layer.parametrizations.weight.original1.detach()
    g = layer.parametrizations.weight.original0.detach()
    made, back = vjp(lambda v: g * v / v.norm(dim=1, keepdim=True), v)
    D = torch.stack([back(e.reshape(5, 6))[0].flatten() for e in torch.eye(30, dtype=v.dtype)])
    found = jacobian_norm.amplification(made, lambda g: back(g)[0], 30)
    assert largest(D) <= found <= 3 * largest(D)

    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), layer).double()
    X = torch.randn(9, 4, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert K.forming_error() >= float(torch.linalg.matrix_norm(K.dense() - expected, 2))
