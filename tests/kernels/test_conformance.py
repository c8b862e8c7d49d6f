"""What every kernel object promises, held against a dense twin that another way made."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.limiting.terms import limiting_terms
from oracles.jacobian import kernel as mlp_twin
from oracles.module_ntk import jacobian
from oracles.module_ntk import kernel as module_twin

INF = math.inf
N = 24


def _mlp():
    model = ntk.Network([6, 30, 20, 1], "tanh", "he").sample(0)
    X = ntk.data.gaussian(N, 6, seed=1)
    return ntk.empirical_ntk(model, X), mlp_twin(model, X)


def _convolution():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).double()
    X = torch.randn(N, 2, 6, dtype=torch.float64)
    return ntk.empirical_ntk(model, X), module_twin(jacobian(model, X))


def _limit():
    net = ntk.Network([6, INF, INF, 1], "tanh", "unit", parameterization="ntk")
    X = ntk.data.gaussian(N, 6, seed=1)
    return limiting_terms(net, X), ntk.limiting_ntk(net, X)


def _limit_by_tiles():
    net = ntk.Network([6, 40, 40, 1], "relu", "he")
    X = ntk.data.gaussian(N, 6, seed=1)
    return limiting_kernel(net, X), ntk.limiting_ntk(net, X, tile=(range(N), range(N)))


@pytest.fixture(scope="module", params=[_mlp, _convolution, _limit, _limit_by_tiles])
def pair(request):
    return request.param()


@pytest.fixture(scope="module")
def tolerance(pair):
    # entries of at most a few hundred products each, relative to √(K_ii K_jj)
    return 1000 * np.finfo(float).eps * float(pair[1].diagonal().max())


def test_dense_is_the_twin_symmetric_and_positive(pair, tolerance):
    K, twin = pair
    made = K.dense()
    assert made.shape == K.shape == (N, N)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, twin, rtol=0, atol=tolerance)
    assert torch.equal(made, made.T)
    assert float(torch.linalg.eigvalsh(made)[0]) > -N * tolerance
    assert torch.equal(made, K.dense())


def test_parts_agree_with_the_whole(pair, tolerance):
    K, twin = pair
    torch.testing.assert_close(K.diagonal(), twin.diagonal(), rtol=0, atol=tolerance)
    assert K.trace() == pytest.approx(float(twin.trace()), rel=1e-12)
    for rows, cols in ((slice(3, 9), slice(0, N)), (slice(20, N), slice(2, 3))):
        torch.testing.assert_close(K.tile(rows, cols), twin[rows, cols], rtol=0, atol=tolerance)
    index = torch.tensor([5, 0, 17])
    torch.testing.assert_close(
        K.tile(index, slice(0, N)), twin[index], rtol=0, atol=tolerance
    )  # fmt: skip


def test_products(pair, tolerance):
    K, twin = pair
    V = torch.linspace(-1, 1, 2 * N, dtype=torch.float64).reshape(N, 2)
    torch.testing.assert_close(K @ V, twin @ V, rtol=0, atol=N * tolerance)
    torch.testing.assert_close(K @ V[:, 0], twin @ V[:, 0], rtol=0, atol=N * tolerance)
    torch.testing.assert_close(K.T @ V, twin @ V, rtol=0, atol=N * tolerance)
    applied = K.to_scipy() @ V.numpy()
    np.testing.assert_allclose(applied, (twin @ V).numpy(), rtol=0, atol=N * tolerance)
    with pytest.raises(ValueError, match="shape"):
        K @ V[1:]


def test_the_smallest_eigenvalue_encloses_the_twins(pair, tolerance):
    K, twin = pair
    found = ntk.smallest_eigenvalue(K if hasattr(K, "terms") else K.dense())
    exact = float(torch.linalg.eigvalsh(twin)[0])
    assert found.lower - N * tolerance <= exact <= found.upper + N * tolerance


def test_terms_add_up(pair, tolerance):
    K, twin = pair
    if not hasattr(K, "terms"):
        pytest.skip("a kernel of tiles has no terms")
    total = sum(K.term(i).dense() for i in range(len(K.terms)))
    torch.testing.assert_close(total, twin, rtol=0, atol=tolerance)
    assert 0 < K.forming_error() < 1e-9 * K.trace()
    single = K.to(torch.float32).dense()
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), twin, rtol=0, atol=tolerance * 2.0**29
    )  # the same in float32
