"""Limiting kernels of modules: units, agreement with a Network's, tiles, precision, widths."""

import itertools
import math

import pytest
import torch
from torch import nn

import ntkscope as ntk

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawn(model, seed=0):
    """Weights of He's variance, biases of a tenth."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.ndim > 1:
            p.data = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.data *= math.sqrt(2 / p[0].numel())
        elif p.ndim == 1:
            p.data = 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return model


def cnn(width=8, pool=True, outputs=1):
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)]
    if not pool:
        end = [nn.Flatten(), nn.Linear(25 * width, outputs)]
    return drawn(
        nn.Sequential(
            nn.Conv2d(2, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), *end,
        ).double()
    )  # fmt: skip


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_mlp_is_the_networks(phi, bias):
    widths = [12, 40, 30, 3]
    layers = []
    for n, m in itertools.pairwise(widths):
        layers += [nn.Linear(n, m, bias=bias), ACTIVATIONS[phi]()]
    model = nn.Sequential(*layers[:-1])
    net = ntk.Network(widths, phi, init="he", bias_std=0.5 if bias else None)
    variances = {f"{2 * i}.weight": beta**2 for i, beta in enumerate(net.betas)}
    if bias:
        variances["*.bias"] = 0.25
    X, X2 = gaussian(20, 12), gaussian(7, 12, seed=1)
    X[3] = X[4]
    X[5] = X[6] * (1 + 1e-9)
    for args in ((X,), (X, X2)):
        want = ntk.limiting_ntk(net, *args, get=("ntk", "nngp"))
        kernel = ntk.limiting_kernel(model, *args, variances=variances, get=("ntk", "nngp"))
        for got, exact in zip(kernel.whole(), want, strict=True):
            torch.testing.assert_close(got, exact, rtol=1e-13, atol=1e-13 * float(exact.max()))
        assert kernel.entry_error() < 1e-11


@pytest.mark.parametrize("pool", [True, False])
def test_tiles_are_the_whole(pool):
    X, X2 = gaussian(23, 2, 5, 5), gaussian(6, 2, 5, 5, seed=1)
    model = cnn(pool=pool)
    kernel = ntk.limiting_kernel(model, X)
    K = kernel.dense()
    assert torch.equal(K, K.T)
    assert torch.equal(kernel.diagonal(), K.diagonal())
    rows, cols = [22, 0, 7, 7], slice(3, 20)
    assert torch.equal(kernel.tile(rows, cols), K[rows][:, cols])
    assert torch.equal(ntk.limiting_ntk(model, X, tile=(rows, cols)), K[rows][:, cols])
    order = torch.randperm(len(X))
    assert torch.allclose(ntk.limiting_ntk(model, X[order]), K[order][:, order], rtol=1e-13, atol=0)
    cross = ntk.limiting_kernel(model, X, X2)
    both = ntk.limiting_ntk(model, torch.cat([X, X2]))
    assert torch.allclose(cross.dense(), both[:23, 23:], rtol=1e-13, atol=0)
    assert torch.allclose(cross.T.dense(), both[23:, :23], rtol=1e-13, atol=0)


def test_smallest_eigenvalue_and_outputs():
    X = gaussian(15, 2, 5, 5)
    model = cnn(outputs=4)
    kernel = ntk.limiting_kernel(model, X)
    found = ntk.smallest_eigenvalue(kernel)
    exact = torch.linalg.eigvalsh(kernel.dense())[0]
    assert abs(found.value - exact) < 1e-10 * kernel.trace()
    one = ntk.limiting_ntk(model, X, reduce=2)
    assert torch.allclose(4 * one, kernel.dense(), rtol=1e-14, atol=0)


def test_float32_model():
    X = gaussian(6, 2, 5, 5)
    model = cnn().float()
    K = ntk.limiting_ntk(model, X.float())
    assert K.dtype == torch.float64
    twin = ntk.limiting_ntk(model.double(), X.float())
    assert torch.equal(K, twin)
    assert next(model.parameters()).dtype == torch.float64  # the caller's model is the caller's


def test_what_comes_before_the_weights():
    """Data are taken as the model's own code hands them to its first weights, there and later."""

    class Prepared(nn.Module):
        def __init__(self, body, skip):
            super().__init__()
            self.body, self.skip = body, skip

        def forward(self, rows):
            images = torch.nn.functional.max_pool2d(rows.reshape(-1, 2, 10, 10) / 3, 2)
            return self.body(images) + self.skip(rows.abs())

    rows = gaussian(9, 200)
    body, skip = cnn(), nn.Linear(200, 1).double()
    images = torch.nn.functional.max_pool2d(rows.reshape(-1, 2, 10, 10) / 3, 2)
    whole = ntk.limiting_ntk(Prepared(body, skip), rows)
    parts = ntk.limiting_ntk(body, images) + ntk.limiting_ntk(skip, rows.abs())
    assert torch.allclose(whole, parts, rtol=1e-13, atol=0)


def test_parameterizations_and_variances():
    X = gaussian(5, 2, 5, 5)
    model = cnn()
    theta, sigma = ntk.limiting_ntk(model, X, get=("ntk", "nngp"), parameterization="ntk")
    # the last layer's own term is its covariance
    assert bool((torch.linalg.eigvalsh(theta - sigma) > -1e-12 * theta.max()).all())
    fresh = nn.Sequential(nn.Linear(30, 4000), nn.ReLU(), nn.Linear(4000, 1))
    x = gaussian(4, 30)
    near = ntk.limiting_ntk(fresh, x)
    assert torch.allclose(ntk.limiting_ntk(fresh, x, variances="nominal"), near, rtol=0.1)
    frozen = cnn()
    for p in frozen.parameters():
        p.requires_grad_(False)
    frozen[-1].weight.requires_grad_(True)
    last = ntk.limiting_ntk(frozen, X)
    assert float(last.max()) < float(ntk.limiting_ntk(model, X).max())
