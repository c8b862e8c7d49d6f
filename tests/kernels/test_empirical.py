"""The kernel from factors against one gradient per row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope import activations
from oracles.jacobian import jacobian, kernel

ACTIVATIONS = (*activations.NAMES, "leaky_relu:alpha=0.3", "softplus:beta=4")


def spread(K, d):
    """Entries relative to √(K_ii K_jj), the scale of a Gram matrix's rounding."""
    scale = torch.sqrt(torch.outer(d, d))
    return float((K.abs() / scale.clamp_min(torch.finfo(K.dtype).tiny)).max())


def agree(K, expected, tolerance=1e-12):
    assert spread(K - expected, expected.diagonal()) < tolerance


ONE = st.just(1)


@st.composite
def networks(draw, outputs=ONE):
    depth = draw(st.integers(2, 6))
    hidden = draw(st.lists(st.integers(1, 9), min_size=depth - 1, max_size=depth - 1))
    return ntk.Network(
        [draw(st.integers(1, 6)), *hidden, draw(outputs)],
        draw(st.sampled_from(ACTIVATIONS)),
        draw(st.sampled_from(["he", "lecun", "bombari2022", "unit"])),
        draw(st.sampled_from(["standard", "ntk"])),
        draw(st.sampled_from(["gaussian", "uniform", "rademacher", "orthogonal"])),
        draw(st.sampled_from([None, 0.0, 0.7])),
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [[7], [8, 5], [6, 1, 5], [6, 2, 5, 4], [9, 8, 7, 6, 5]])
def test_equals_one_gradient_per_row(name, hidden):
    model = ntk.Network([4, *hidden, 1], name, "he").sample(seed=1)
    X = ntk.data.gaussian(n_samples=6, dim=4, seed=2)
    sampled = ntk.MLP.from_weights([w.detach() for w in model.weights], name)
    expected = kernel(sampled, X)
    # a dead bottleneck (all its ReLUs off) leaves a zero row, which both must give
    agree(ntk.empirical_ntk(sampled, X).dense(), expected)


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(1, 8), st.integers(0, 2**20))
def test_random_networks(net, n, seed):
    model, X = net.sample(seed), ntk.data.gaussian(n, net.dim, seed=seed)
    K = ntk.empirical_ntk(model, X)
    expected = kernel(model, X)
    agree(K.dense(), expected)
    agree(sum(K.term(i).dense() for i in range(len(K.terms))), K.dense())
    agree(torch.diag(K.diagonal()), torch.diag(expected.diagonal()))


@settings(max_examples=15, deadline=None)
@given(networks(st.integers(2, 4)), st.integers(1, 4), st.integers(0, 2**20))
def test_several_outputs(net, n, seed):
    model, X = net.sample(seed), ntk.data.gaussian(n, net.dim, seed=seed)
    J = jacobian(model, X)
    full = ntk.empirical_ntk(model, X, reduce="full")
    rows = J.reshape(n * net.n_outputs, -1)
    agree(full.dense(), rows @ rows.T)
    assert full.labels == ("sample", "output")
    agree(ntk.empirical_ntk(model, X).dense(), torch.einsum("ncp,mcp->nm", J, J))
    last = net.n_outputs - 1
    agree(ntk.empirical_ntk(model, X, reduce=last).dense(), J[:, last] @ J[:, last].T)


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("alpha", [0.5, -1.0])
def test_residual_networks(alpha, parameterization):
    net = ntk.Network(
        [5, 5, 5, 5, 1], "tanh", "lecun", parameterization, bias_std=0.3, residual=alpha
    )
    model, X = net.sample(0), ntk.data.gaussian(7, 5, seed=1)
    agree(ntk.empirical_ntk(model, X).dense(), kernel(model, X))


def test_two_outputs_of_a_residual_network():
    model = ntk.Network([4, 4, 4, 2], "gelu", "lecun", residual=0.7).sample(3)
    X = ntk.data.gaussian(5, 4, seed=1)
    agree(ntk.empirical_ntk(model, X).dense(), kernel(model, X))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_derivative_that_returns_its_argument_is_not_overwritten(depth):
    half_square = activations.custom(lambda z: z * z / 2, derivative=lambda z: z, name="z²/2")
    model = ntk.Network([4, *[3] * (depth - 1), 1], half_square).sample(0)
    X = ntk.data.gaussian(5, 4, seed=1)
    agree(ntk.empirical_ntk(model, X).dense(), kernel(model, X))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_paired_networks(depth):
    net = ntk.Network([4, *[6] * (depth - 1), 1], "tanh", "bombari2022-paired:gamma=1e6")
    model, X = net.sample(0), ntk.data.gaussian(5, 4, seed=1)
    agree(ntk.empirical_ntk(model, X).dense(), kernel(model, X))


def test_cross_kernel_tiles_products_and_scipy_agree():
    net = ntk.Network([5, 40, 30, 1], "gelu", bias_std=0.2)
    model = net.sample(0)
    X, X2 = ntk.data.gaussian(33, 5, seed=1), ntk.data.gaussian(21, 5, seed=2)
    K, cross = ntk.empirical_ntk(model, X), ntk.empirical_ntk(model, X, X2)
    joined = torch.cat([X, X2])
    whole = kernel(model, joined)
    scale = whole.diagonal()
    assert cross.shape == (33, 21)
    assert not cross.symmetric
    part = torch.zeros_like(whole)
    part[:33, 33:] = cross.dense() - whole[:33, 33:]
    assert spread(part, scale) < 1e-12
    assert torch.equal(K.dense(), K.dense().T)
    tile = K.tile(slice(3, 9), torch.tensor([0, 20, 5]))
    torch.testing.assert_close(tile, K.dense()[3:9][:, [0, 20, 5]], rtol=1e-12, atol=0)
    V = torch.randn(33, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for product in (K @ V, torch.stack([K @ V[:, j] for j in range(4)], 1), K._by_tiles(V)):
        torch.testing.assert_close(product, K.dense() @ V, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(cross.T.dense(), cross.dense().T, rtol=1e-12, atol=1e-12)
    operator = cross.to_scipy()
    v = V[:, 0].numpy()
    torch.testing.assert_close(
        torch.from_numpy(operator.rmatvec(v)), cross.dense().T @ V[:, 0], rtol=1e-11, atol=1e-11
    )
    with pytest.raises(ValueError, match="symmetric"):
        cross.diagonal()


@pytest.mark.parametrize("n", [127, 128, 129, 700, 1300])
def test_blocked_forming_equals_plain_forming(n):
    model = ntk.Network([6, 20, 15, 1], "tanh").sample(0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 6, seed=1))
    plain = sum(
        t.scale
        * (t.features.rows @ t.features.rows.T)
        * (1.0 if t.signals is None else t.signals.rows @ t.signals.rows.T)
        for t in K.terms
    )
    assert torch.equal(K.dense(), K.dense().T)
    agree(K.dense(), plain)


def test_float32_stays_float32_and_its_error_bar_holds():
    net = ntk.Network([8, 50, 40, 1], "relu")
    X = ntk.data.gaussian(60, 8, seed=1)
    exact = ntk.empirical_ntk(net.sample(0), X)
    single = net.sample(0, dtype="float32")
    K = ntk.empirical_ntk(single, X.float())
    assert K.dtype == torch.float32
    wide = K.to(torch.float64)
    error = torch.linalg.matrix_norm(K.dense().double() - wide.dense(), 2)
    assert float(error) <= K.forming_error()
    assert spread(wide.dense() - exact.dense(), exact.diagonal()) < 1e-4
    with pytest.raises(ValueError, match="float64 and the model float32"):
        ntk.empirical_ntk(single, X)


def test_near_kinks_are_counted():
    model = ntk.MLP.from_weights([torch.eye(2).double(), torch.ones(2, 1).double()], "relu")
    X = torch.tensor([[1.0, 0.0], [1.0, 1e-17], [1.0, 0.5]], dtype=torch.float64)
    assert ntk.empirical_ntk(model, X).near_kinks == 2


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (torch.zeros(0, 3), "empty"),
        (torch.ones(3), "two axes"),
        (torch.ones(2, 2, 2), "two axes"),
        (torch.tensor([[1.0, float("nan"), 0.0]]), r"NaN or infinite, the first at \(0, 1\)"),
        (torch.ones(4, 5), "takes 3"),
    ],
)
def test_bad_data_is_named(X, message):
    model = ntk.Network([3, 4, 1]).sample(0)
    with pytest.raises(ValueError, match=message):
        ntk.empirical_ntk(model, X)


def test_overflow_is_named():
    model = ntk.Network([3, 4, 4, 1], "relu", [1e150, 1e150, 1.0]).sample(0)
    with pytest.raises(ValueError, match="layer 2 overflows"):
        ntk.empirical_ntk(model, torch.full((2, 3), 1e100, dtype=torch.float64))


def test_other_bad_arguments():
    model = ntk.Network([3, 4, 2]).sample(0)
    X = torch.ones(2, 3).double()
    with pytest.raises(TypeError, match="must be real"):
        ntk.empirical_ntk(model, X.to(torch.complex128))
    with pytest.raises(TypeError, match="float16"):
        ntk.empirical_ntk(model, X.half())
    with pytest.raises(ValueError, match="names no output"):
        ntk.empirical_ntk(model, X, reduce=2)
    ints = ntk.empirical_ntk(model, torch.ones(2, 3, dtype=torch.int32)).dense()
    torch.testing.assert_close(ints, ntk.empirical_ntk(model, X).dense())


@pytest.mark.parametrize("measure", [ntk.smallest_eigenvalue, lambda K: ntk.compare_kernels(K, K)])
def test_what_stands_before_a_kernel_is_told_how_to_become_one(measure):
    model, X = torch.nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    for one in (model, ntk.Network([3, 4, 1])):
        with pytest.raises(TypeError, match=r"got the model \w+; .*empirical_ntk\(model, X\)"):
            measure(one)
    with pytest.raises(TypeError, match=r"got those of 2 outputs; .*kernels\[0\]"):
        measure(ntk.empirical_ntk(model, X, reduce="diagonal"))
