"""Memorization: the doubled network against a forward pass written out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.training.checkpoints import load_model
from ntkscope.training.labels import contradictions, make_targets
from ntkscope.training.memorization import capacity, double, memorize

PHI = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
}


def forward_by_hand(model, X):
    """f(x) for one sample after another, in numpy, from the stored weights alone."""
    phi = PHI[model.network.activation.name.split(":")[0]]
    weights = [w.detach().numpy() for w in model.weights]
    biases = [b.detach().numpy() for b in model.biases] or [0.0] * len(weights)
    ntk_scaled = model.network.parameterization == "ntk"
    out = []
    for x in X.numpy():
        f = x
        for l, (W, b) in enumerate(zip(weights, biases, strict=True)):
            g = W.T @ f / (math.sqrt(len(f)) if ntk_scaled else 1.0) + b
            f = g if l == len(weights) - 1 else phi(g)
        out.append(f[0])
    return np.array(out)


@settings(deadline=None, max_examples=15)
@given(
    N=st.integers(1, 25), d=st.integers(3, 12), activation=st.sampled_from(["relu", "tanh", "softplus"]),
    kind=st.sampled_from(["standard", "ntk", "biases"]), depth=st.integers(2, 4),
    seed=st.integers(0, 10**6), size=st.sampled_from([1e-3, 1.0, 50.0]),
)  # fmt: skip
def test_random_labels_are_fitted_to_the_reported_error(N, d, activation, kind, depth, seed, size):
    net = ntk.Network(
        [d, *[30] * (depth - 1), 1], activation, "he", "ntk" if kind == "ntk" else "standard",
        bias_std=0.2 if kind == "biases" else None,
    )  # fmt: skip
    X = ntk.data.gaussian(n_samples=N, dim=d, seed=seed)
    Y = size * make_targets(None, N, f"random:seed={seed}").Y
    result = memorize(net, X, Y, tol=1e-7 * size, seed=seed)
    assert result.model.network.widths == (d, *[60] * (depth - 1), 1)
    error = float(np.linalg.norm(forward_by_hand(result.model, X) - Y.numpy()))
    # two forward passes may differ by their rounding, which ``reachable`` estimates
    assert error <= result.error + 50 * result.reachable
    if result.lambda_min.value > 1e-6 * result.lambda_min.upper and result.certified:
        assert result.reached, str(result)
        assert result.error <= 1e-7 * size
    assert result.reached == (result.error <= result.tol)


def test_the_doubled_network_is_the_difference_quotient():
    net = ntk.Network([4, 6, 5, 1], "tanh", "he", "ntk", bias_std=0.5)
    model, other = net.sample(0), net.sample(1)
    X = ntk.data.gaussian(n_samples=7, dim=4, seed=2)
    theta = [p.detach() for p in (*other.weights, *other.biases)]
    eps = 0.3
    moved = ntk.MLP(
        net, [w.detach() + eps * t for w, t in zip(model.weights, theta[:3], strict=True)],
        [b.detach() + eps * t for b, t in zip(model.biases, theta[3:], strict=True)],
    )  # fmt: skip
    expected = (forward_by_hand(moved, X) - forward_by_hand(model, X)) / eps
    assert np.allclose(
        forward_by_hand(double(model, theta, eps), X), expected, rtol=1e-12, atol=1e-12
    )


def test_the_result_saves_and_loads(tmp_path):
    X = ntk.data.gaussian(n_samples=20, dim=8, seed=0)
    Y = make_targets(None, 20, "random").Y
    result = memorize(ntk.Network([8, 40, 20, 1]), X, Y, tol=1e-8)
    result.save(tmp_path / "net.pt")
    loaded = load_model(tmp_path / "net.pt")
    with torch.no_grad():
        assert torch.equal(loaded(X), result.model(X))
    assert result.reached
    assert "fits 20 labels" in str(result)
    assert result.to_dict()["certified"] is True


def test_digits_are_fitted_at_full_rank():
    data = ntk.data.load("digits:N=200")
    result = memorize(ntk.Network([64, 128, 64, 1]), data.X, data.y, tol=1e-6)
    assert result.reached, str(result)
    assert result.rank == 200


def test_more_samples_than_parameters_says_so():
    X = ntk.data.gaussian(n_samples=60, dim=3, seed=0)
    Y = make_targets(None, 60, "random").Y
    result = memorize(ntk.Network([3, 8, 1]), X, Y)
    assert not result.reached
    assert "60 samples, 32 parameters" in result.reason
    assert result.rank <= 32
    # the projection's residual is what is left, up to the one the correction can still use
    assert 0.1 < result.error < 1.5 * float(torch.linalg.vector_norm(Y))


def test_a_near_duplicate_row_is_told_from_rounding():
    X = ntk.data.gaussian(n_samples=10, dim=4, seed=0)
    X[3] = X[7] * (1 + 1e-15)
    X[3, 0] = torch.nextafter(X[7, 0], X[7, 0] + 1)
    Y = torch.arange(10).double()
    result = memorize(ntk.Network([4, 40, 1], "tanh"), X, Y)
    assert not result.reached
    assert not result.certified
    assert "cannot be told from zero" in result.reason
    assert result.reachable == pytest.approx(4 / math.sqrt(2), rel=0.01)


def test_float32_stops_where_it_must():
    X = ntk.data.gaussian(
        n_samples=20,
        dim=8,
        seed=0,
    )
    model = ntk.Network([8, 100, 1], "tanh").sample(0, dtype="float32")
    Y = make_targets(None, 20, "random").Y
    result = memorize(model, X.float(), Y, tol=1e-12)
    assert not result.reached
    assert "rounding in torch.float32" in result.reason
    assert result.error < 1e-2


def test_contradictions_are_named():
    X = ntk.data.gaussian(n_samples=6, dim=3, seed=0)
    X[4], X[5] = X[1], X[1]
    Y = torch.tensor([0.0, 1.0, 2.0, 3.0, 1.0, 7.0], dtype=torch.float64)
    assert contradictions(X, Y) == [(1, 5)]
    with pytest.raises(ValueError, match=r"rows 1 and 5 \(1 ≠ 7\)"):
        memorize(ntk.Network([3, 20, 1]), X, Y)


def test_one_sample():
    result = memorize(ntk.Network([3, 5, 1], "tanh"), torch.ones(1, 3).double(), [2.5], tol=1e-10)
    assert result.reached


@pytest.mark.parametrize(
    ("net", "X", "Y", "error", "message"),
    [
        (ntk.Network([3, 4, 1]), torch.ones(2, 3), [1.0], ValueError, "one label for each of the 2"),
        (ntk.Network([3, 4, 2]), torch.ones(1, 3), [1.0], ValueError, "one output"),
        (ntk.Network([3, 3, 1], residual=1.0), torch.ones(1, 3), [1.0], ValueError, "residual"),
        (ntk.Network([3, 4, 1]), torch.ones(1, 3), ["a"], TypeError, "return_inverse"),
        (ntk.Network([3, 4, 1]), torch.ones(1, 2), [1.0], ValueError, "the network takes 3"),
        (ntk.Network([3, 4, 1]), torch.ones(1, 3), [math.nan], ValueError, "NaN"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(net, X, Y, error, message):
    with pytest.raises(error, match=message):
        memorize(net, X, Y)
    with pytest.raises(ValueError, match="tol"):
        memorize(ntk.Network([3, 4, 1]), torch.ones(1, 3), [1.0], tol=0.0)


def test_targets():
    assert make_targets([3, 8, 3], 3).Y.tolist() == [-1.0, 1.0, -1.0]
    assert make_targets([3, 8, 3], 3, "real").Y.tolist() == [3.0, 8.0, 3.0]
    assert make_targets([0, 1, 2], 3).Y.tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(
        make_targets(None, 4, "random:seed=2").Y, make_targets(None, 4, "random:seed=2").Y
    )
    for labels, how, message in (
        ([0, 1, 2], "signs", "signs need two classes"),
        (None, "auto", "come without labels"),
        ([0, 1, 2], "sings", "did you mean 'signs'"),
        ([0, 1, 2], "real:seed=1", "takes no options"),
    ):
        with pytest.raises(ValueError, match=message):
            make_targets(labels, 3, how)


def test_capacity_certifies_what_memorize_then_does():
    X = ntk.data.gaussian(n_samples=30, dim=6, seed=0)
    net = ntk.Network([6, 40, 1])
    asked = capacity(net, X)
    assert asked.fits is True
    assert asked.fits_doubled is True
    assert "any 30 real labels can be fitted" in str(asked)
    # what is certified at these widths is built from the half
    built = memorize(net.with_widths([6, 20, 1]), X, make_targets(None, 30, "random").Y)
    assert built.reached
    assert built.model.network.widths == net.widths
    small = capacity(ntk.Network([6, 3, 1]), X)
    assert small.exact is None
    assert small.fits_doubled is None
    assert "not established" in str(small)
    assert small.to_dict()["fits"] is None
