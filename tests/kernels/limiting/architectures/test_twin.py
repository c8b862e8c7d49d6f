"""Limiting kernels of modules against the twin that loops over pairs of pixels in 40 digits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from oracles import architectures as twin

from .models import build

CONV = ("conv", 3, 1, 1, 0.25, 0.0625)
BARE = ("conv", 3, 1, 1, 0.25, None)
END = ("flatten", 0.25, 0.25)

NETWORKS = {
    "convolutions and flatten": [CONV, ("relu",), CONV, ("relu",), END],
    "no biases": [BARE, ("relu",), BARE, ("relu",), ("flatten", 0.25, None)],
    "global pool": [CONV, ("relu",), CONV, ("relu",), ("pool", 4), END],
    "pool between": [CONV, ("relu",), ("pool", 2), CONV, ("abs",), END],
    "strides": [("conv", 3, 2, 1, 0.25, 0.0625), ("relu",), ("conv", 2, 1, 0, 0.25, None), END],
    "valid, then pool": [("conv", 3, 1, 0, 0.25, 0.0625), ("relu",), ("pool", 2), END],
    "stride, then pool": [("conv", 3, 2, 1, 0.25, 0.0625), ("relu",), CONV, ("pool", 2), END],
    "residual": [
        CONV,
        ("sum", [("relu",), CONV, ("relu",), CONV], [("scale", 0.5)]),
        ("relu",),
        ("pool", 4),
        END,
    ],
    "normalised": [CONV, ("groupnorm", 2.0**-10), ("relu",), CONV, ("relu",), ("pool", 4), END],
}


def images(n, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, size, size, dtype=torch.float64, generator=generator)


def agree(layers, X, bound):
    model, told = build(layers, X.shape[1], X.shape[2])
    kernel = ntk.limiting_kernel(model, X, get=("ntk", "nngp"))
    theta, sigma = (np.array(m, dtype=object) for m in twin.kernels(told, X.tolist()))
    for got, exact in zip(kernel.whole(), (theta, sigma), strict=True):
        scale = np.sqrt(np.diag(exact).astype(float))
        off = np.abs(got.numpy() - exact).astype(float) / (scale[:, None] * scale)
        assert off.max() <= bound
        assert np.diag(off).max() <= 1e-14
    assert off.max() <= kernel.entry_error()
    return kernel


@pytest.mark.parametrize("name", NETWORKS)
def test_twin(name):
    agree(NETWORKS[name], images(2), 1e-13)


@pytest.mark.parametrize("name", ["convolutions and flatten", "global pool", "pool between"])
def test_near_and_identical_images(name):
    X = images(3)
    X[2] = X[0] + 1e-9 * X[1]
    X[1] = X[0]
    # behind a pool 1 − ρ of near pairs comes from a difference, and the bound says so
    bound = 1e-13 if name != "pool between" else 1e-7
    kernel = agree(NETWORKS[name], X, bound)
    K = kernel.whole()[0]
    assert torch.equal(K[0], K[1])


def test_black_images_and_pixels():
    X = images(3)
    X[0] = 0.0
    X[1, :, :2] = 0.0
    agree(NETWORKS["global pool"], X, 1e-13)


def block(draw):
    middle = st.sampled_from([CONV, BARE, ("conv", 3, 1, 1, 1.0, 0.25)])
    kinds = st.sampled_from(["plain", "residual", "norm", "scale"])
    kind = draw(kinds)
    if kind == "plain":
        return [("relu",), draw(middle)]
    if kind == "residual":
        return [("sum", [("relu",), draw(middle), ("relu",), draw(middle)], [("scale", 1.0)])]
    if kind == "norm":
        return [("groupnorm", 2.0**-6), ("abs",), draw(middle)]
    return [("scale", 0.5), ("relu",), draw(middle)]


@st.composite
def networks(draw):
    layers = [CONV]
    for _ in range(draw(st.integers(1, 2))):
        layers += block(draw)
    layers.append(("relu",))
    if draw(st.booleans()):
        layers.append(("pool", draw(st.sampled_from([3]))))
    return [*layers, END]


@settings(max_examples=8, deadline=None)
@given(networks(), st.integers(0, 1000))
def test_drawn_networks(layers, seed):
    agree(layers, images(2, size=3, seed=seed), 1e-13)
