"""Predictions of gradient flow and descent against running them."""

import math

import pytest
import torch

import ntkscope as ntk


def _problem(n=12, m=5, outputs=2):
    g = torch.Generator().manual_seed(0)
    X, Z = (torch.randn(k, 4, generator=g, dtype=torch.float64) for k in (n, m))
    Y, f0 = (torch.randn(n, outputs, generator=g, dtype=torch.float64) for _ in range(2))
    f0_test = torch.randn(m, outputs, generator=g, dtype=torch.float64)
    net = ntk.Network([4, 30, 1], "tanh", "lecun", "ntk", bias_std=0.2)
    return ntk.limiting_kernel(net, X), ntk.limiting_kernel(net, Z, X), Y, f0, f0_test


def test_descent_is_the_iteration():
    K, C, Y, f0, f0_test = _problem()
    theory = ntk.LinearizedTraining(K, Y, C, f0, f0_test)
    rate = 0.9 * theory.max_learning_rate
    train, test = f0.clone(), f0_test.clone()
    dense, cross = K.dense(), C.dense()
    for step in range(41):
        if step in (0, 1, 7, 40):
            found = theory.descent(step, rate)
            assert torch.allclose(found.train, train, atol=1e-12)
            assert torch.allclose(found.test, test, atol=1e-12)
        gap = train - Y
        test = test - rate * cross @ gap
        train = train - rate * dense @ gap


def test_flow_is_the_matrix_exponential_and_ends_in_regression():
    K, C, Y, f0, f0_test = _problem()
    theory = ntk.LinearizedTraining(K, Y, C, f0, f0_test)
    dense, cross = K.dense(), C.dense()
    for t in (0.0, 0.3, 20.0):
        decay = torch.matrix_exp(-t * dense)
        found = theory.flow(t)
        assert torch.allclose(found.train, Y + decay @ (f0 - Y), atol=1e-12)
        moved = torch.linalg.solve(dense, (torch.eye(12).double() - decay) @ (f0 - Y))
        assert torch.allclose(found.test, f0_test - cross @ moved, atol=1e-10)
    end = theory.flow(math.inf)
    assert torch.allclose(end.train, Y)
    assert torch.allclose(end.test, f0_test - cross @ torch.linalg.solve(dense, f0 - Y), atol=1e-10)
    assert torch.allclose(theory.descent(math.inf, 0.5 * theory.max_learning_rate).test, end.test)


def test_the_rate_above_which_descent_diverges():
    K, _, Y, _, _ = _problem()
    theory = ntk.LinearizedTraining(K, Y)
    below = theory.descent(2000, 0.999 * theory.max_learning_rate).train - Y
    above = theory.descent(2000, 1.01 * theory.max_learning_rate).train - Y
    assert float(below.abs().max()) < float(Y.abs().max())
    assert float(above.abs().max()) > 1e3
    with pytest.raises(ValueError, match="diverges"):
        theory.descent(math.inf, 1.01 * theory.max_learning_rate)


def test_a_wide_network_follows_its_kernel():
    g = torch.Generator().manual_seed(1)
    X = torch.randn(6, 3, generator=g, dtype=torch.float64)
    Y = torch.sin(X[:, :1])
    model = ntk.Network([3, 4000, 1], "tanh", "lecun", "ntk").sample(seed=0)
    with torch.no_grad():
        f0 = model(X)
    theory = ntk.LinearizedTraining(ntk.empirical_ntk(model, X), Y, f0=f0)
    rate = 0.5 * theory.max_learning_rate
    for _ in range(30):
        loss = 0.5 * ((model(X) - Y) ** 2).sum()
        for p, grad in zip(
            model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            p.data.sub_(rate * grad)
    with torch.no_grad():
        trained = model(X)
    moved = float((trained - f0).abs().max())
    assert float((trained - theory.descent(30, rate).train).abs().max()) < 0.03 * moved


def test_full_kernels_singular_kernels_and_shapes():
    g = torch.Generator().manual_seed(2)
    X = torch.randn(5, 3, generator=g, dtype=torch.float64)
    Y = torch.randn(5, 2, generator=g, dtype=torch.float64)
    model = ntk.Network([3, 20, 2], "tanh", "lecun").sample(seed=0)
    full = ntk.empirical_ntk(model, X, reduce="full")
    found = ntk.LinearizedTraining(full, Y).flow(0.5).train
    decay = torch.matrix_exp(-0.5 * full.dense())
    expected = (Y.reshape(-1) - decay @ Y.reshape(-1)).reshape(5, 2)
    assert torch.allclose(found, expected, atol=1e-12)
    ones = torch.ones(3, 3, dtype=torch.float64)
    flat = ntk.LinearizedTraining(ones, [1.0, 2.0, 3.0], ones[:1])
    assert flat.flow(1e3).train.shape == (3,)
    with pytest.raises(ValueError, match="singular"):
        flat.flow(math.inf)
    with pytest.raises(ValueError, match="rows"):
        ntk.LinearizedTraining(ones, [1.0, 2.0])
    with pytest.raises(ValueError, match="not symmetric"):
        ntk.LinearizedTraining(torch.tensor([[1.0, 0.5], [0.0, 1.0]]), [1.0, 2.0])
    with pytest.raises(ValueError, match="learning_rate"):
        flat.descent(3, -1.0)
