"""Hessian norms against the dense Hessian of small networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.training.curvature import HessianOperator, hessian_norms
from oracles.gradients import parameter_hessian


def dense_norms(model, X):
    return torch.stack([torch.linalg.matrix_norm(parameter_hessian(model, x), 2) for x in X])


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(["standard", "ntk", "biases", "residual"]),
    activation=st.sampled_from(["tanh", "sigmoid", "relu", "identity", "softplus:beta=3"]),
    depth=st.integers(2, 4), N=st.integers(1, 4), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_norms_are_the_dense_hessians(kind, activation, depth, N, seed):
    widths = [4] * depth + [1] if kind == "residual" else [3, *[5, 4, 6][: depth - 1], 1]
    net = ntk.Network(
        widths, activation, "unit", "ntk" if kind == "ntk" else "standard",
        bias_std=0.4 if kind == "biases" else None, residual=0.7 if kind == "residual" else 0.0,
    )  # fmt: skip
    model = net.sample(seed)
    X = ntk.data.gaussian(n_samples=N, dim=net.dim, seed=seed)
    got = hessian_norms(model, X, tol=1e-9)
    expected = dense_norms(model, X)
    scale = float(expected.max()) + 1e-300
    assert float((got.values - expected).abs().max()) <= 1e-8 * scale
    assert got.converged


def test_the_operator_is_symmetric():
    model = ntk.Network([5, 8, 7, 1], "tanh", "he", "ntk", bias_std=0.1).sample(0)
    operator = HessianOperator(model, ntk.data.gaussian(n_samples=3, dim=5, seed=0))
    g = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, *operator.shape, generator=g, dtype=torch.float64)
    left, right = (u * operator(v)).sum(dim=1), (operator(u) * v).sum(dim=1)
    size = torch.linalg.vector_norm(operator(v), dim=1) * torch.linalg.vector_norm(u, dim=1)
    assert bool(((left - right).abs() <= 1e-13 * size).all())


def test_zero_samples_and_dead_networks():
    model = ntk.Network([3, 6, 1], "tanh").sample(0)
    X = torch.zeros(2, 3, dtype=torch.float64)
    X[1] = 1.0
    got = hessian_norms(model, X)
    assert torch.allclose(got.values, dense_norms(model, X), atol=1e-12)
    dead = ntk.MLP.from_weights([torch.zeros(3, 4), torch.zeros(4, 1)], "relu")
    assert hessian_norms(dead, X.float()).values.tolist() == [0.0, 0.0]


def test_an_unconverged_norm_says_so_and_is_a_lower_bound():
    model = ntk.Network([20, 60, 60, 1], "tanh", "he", "ntk").sample(0)
    X = ntk.data.gaussian(n_samples=3, dim=20, seed=0)
    few, many = (
        hessian_norms(model, X, tol=1e-12, max_products=3),
        hessian_norms(model, X, tol=1e-10),
    )
    assert not few.converged
    assert many.converged
    assert bool((few.values <= many.values * (1 + 1e-9)).all())
    # some eigenvalue lies within the stated residual of each value
    assert bool((many.errors <= 1e-10 * many.values).all())


def test_float32_agrees_with_float64():
    net = ntk.Network([6, 20, 20, 1], "tanh", "he", "ntk")
    X = ntk.data.gaussian(n_samples=4, dim=6, seed=0)
    single = hessian_norms(net.sample(0, dtype="float32"), X.float(), tol=1e-4)
    assert np.allclose(single.values, hessian_norms(net.sample(0), X).values, rtol=1e-3)


def test_bad_input():
    X = torch.ones(2, 3)
    with pytest.raises(TypeError, match=r"sampled fully connected network, .*, got Linear"):
        hessian_norms(torch.nn.Linear(3, 1), X)
    with pytest.raises(ValueError, match="one output"):
        hessian_norms(ntk.Network([3, 4, 2]).sample(0), X)
    with pytest.raises(ValueError, match="the network takes 3"):
        hessian_norms(ntk.Network([3, 4, 1]).sample(0), X[:, :2])
