"""The predictor against the eigenvalues it predicts, and against what is known exactly."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import betainc

import ntkscope as ntk
from ntkscope.prediction import caps, gegenbauer, resolvent
from ntkscope.prediction.isotropy import isotropy
from ntkscope.prediction.model import model_of, zonal
from ntkscope.prediction.norms import resolve
from ntkscope.prediction.resolvent import Resolvent
from ntkscope.prediction.roots import find_root

INF = math.inf


def measured(net, n_samples, data, seeds):
    draw = ntk.data.sphere if data == "sphere" else ntk.data.gaussian
    values = [
        float(torch.linalg.eigvalsh(ntk.limiting_ntk(net, draw(n_samples, net.dim, seed=seed)))[0])
        for seed in seeds
    ]
    return np.array(values)


@pytest.mark.parametrize(
    ("activation", "init", "parameterization", "depth"),
    [("relu", "unit", "standard", 3), ("tanh", "lecun", "ntk", 3), ("gelu", "he", "ntk", 2)],
)
def test_bulk_on_the_sphere(activation, init, parameterization, depth):
    net = ntk.Network([60, *[INF] * (depth - 1), 1], activation, init, parameterization)
    found = ntk.predict_smallest_eigenvalue(net, 500)
    values = measured(net, 500, "sphere", range(4))
    # the predictor is meant to be within 1%; the mean of four has a standard error besides
    bar = 0.01 * found.value + 3 * values.std(ddof=1) / 2
    assert abs(values.mean() - found.value) < bar
    assert np.all(np.abs(values / found.value - 1) < 0.05)
    assert found.regime == "bulk"


def test_gaussian_rows():
    net = ntk.Network([60, INF, INF, 1], "relu", "unit")
    found = ntk.predict_smallest_eigenvalue(net, 500, data="gaussian")
    values = measured(net, 500, "gaussian", range(6))
    assert abs(values.mean() - found.value) < 0.01 * found.value + 3 * values.std() / math.sqrt(6)
    assert np.mean((values > found.lower) & (values < found.upper)) >= 0.5
    norms = ntk.data.gaussian(500, 60, seed=0).norm(dim=1)
    given_norms = ntk.predict_smallest_eigenvalue(net, 500, data=norms)
    assert given_norms.value == pytest.approx(values[0], rel=0.08)


@pytest.mark.parametrize(("dim", "n_samples"), [(20, 400), (8, 300), (3, 150)])
def test_low_dimension_is_within_a_factor(dim, n_samples):
    net = ntk.Network([dim, INF, INF, 1], "relu", "unit")
    found = ntk.predict_smallest_eigenvalue(net, n_samples)
    values = measured(net, n_samples, "sphere", range(30))
    assert found.value / 1.5 < values.mean() < found.value * 1.5
    assert found.regime != "bulk"
    assert found.value < found.edge


def test_units_follow_the_network():
    # λ_min of the kernel scales with it: widths in "standard", norms for a homogeneous activation
    net = ntk.Network([40, 300, 200, 1], "relu", "unit")
    common = ntk.Network([40, INF, INF, 1], "relu", "unit")
    one = ntk.predict_smallest_eigenvalue(net, 300)
    other = ntk.predict_smallest_eigenvalue(common, 300)
    assert one.value * net.ntk_normalization == pytest.approx(other.value, rel=1e-9)
    far = ntk.predict_smallest_eigenvalue(common, 300, data=f"sphere:radius={2 * math.sqrt(40)}")
    assert far.value == pytest.approx(4 * other.value, rel=1e-9)
    replaced = ntk.predict_smallest_eigenvalue(common, 300, 50)
    assert replaced.dim == 50
    assert replaced.value > other.value


def test_a_linear_kernel_is_singular():
    net = ntk.Network([30, INF, 1], "identity", "unit")
    found = ntk.predict_smallest_eigenvalue(net, 31)
    assert found.value == 0
    assert found.regime == "zero"
    assert "rank 30 < N = 31" in found.reason
    # with fewer samples than dimensions it is a Wishart matrix, whose edge is known: K = K_ii ρ
    few = ntk.predict_smallest_eigenvalue(net, 10)
    diagonal = float(ntk.limiting_ntk(net, ntk.data.sphere(2, 30, seed=0))[0, 0])
    assert few.edge == pytest.approx(diagonal * (1 - math.sqrt(10 / 30)) ** 2, rel=1e-6)


@pytest.mark.parametrize(("activation", "law"), [("gelu", "sphere"), ("sin", "gaussian")])
def test_coefficients_below_rounding_do_not_make_a_kernel_singular(activation, law):
    """A smooth kernel in 3 dimensions has every degree; λ_min > 0 is below what float64 can show."""
    net = ntk.Network([3, INF, 1], activation, "lecun", "ntk")
    found = ntk.predict_smallest_eigenvalue(net, 300, data=law)
    assert found.regime == "below rounding"
    assert not found.reliable
    assert found.lower == 0 < found.upper
    X = ntk.data.load(f"{law}:N=300,d=3", seed=0).X
    measured = ntk.inspect(net, X)
    assert measured.smallest.lower <= found.upper
    assert "exactly" not in str(found)
    text = str(measured)
    assert "0 exactly" not in text
    assert "predicted in [0, " in text
    assert "0 exactly" not in measured.to_html()
    with pytest.raises(ValueError, match="below rounding"):
        ntk.predict_spectrum(net, 300, data=law)


def test_equal_norms_are_one_class():
    c = np.array([[1.0, 2.0, 0.5]])
    gamma = np.array([5.0, 0.3, 0.0])
    one = Resolvent(100.0, gamma, c, np.ones(1)).edge()
    split = Resolvent(100.0, gamma, np.vstack([c, c]), np.array([0.25, 0.75])).edge()
    scaled = Resolvent(100.0, gamma, np.vstack([c, c]), np.array([0.25, 0.75]), np.ones(2)).edge()
    assert split.value == pytest.approx(one.value, rel=1e-8)
    assert scaled.value == pytest.approx(one.value, rel=1e-8)


@example(g=[0.25], tail=1.0, spread=3.0)
@given(
    g=st.lists(st.floats(0.01, 50), min_size=1, max_size=4),
    tail=st.floats(0.1, 2),
    spread=st.floats(1.05, 3),
)
@settings(deadline=None, max_examples=30)
def test_both_ways_to_unequal_norms_agree(g, tail, spread):
    mean = np.append(np.ones(len(g)), tail)
    t = np.array([1 / spread, 1.0, spread])
    weights = np.array([0.3, 0.4, 0.3])
    t = t / (weights @ t)
    gamma = np.append(np.array(g), 0.0)
    fast = Resolvent(200.0, gamma, t[:, None] * mean, weights, t).edge()
    slow = Resolvent(200.0, gamma, t[:, None] * mean, weights).edge()
    assert fast.value == pytest.approx(slow.value, rel=1e-6)


def test_edge_of_a_marchenko_pastur_matrix():
    # c P_r + tail I, one degree: tail + c (1 − √γ)²
    found = Resolvent(1000.0, np.array([0.25, 0.0]), np.array([[2.0, 0.3]]), np.ones(1)).edge()
    assert found.value == pytest.approx(0.3 + 2 * 0.25, rel=1e-9)


def test_spectrum_of_the_sphere():
    net = ntk.Network([20, INF, INF, 1], "relu", "unit")
    found = ntk.predict_spectrum(net, 300)
    X = ntk.data.sphere(300, 20, seed=0)
    values = torch.linalg.eigvalsh(ntk.limiting_ntk(net, X)).numpy()
    for q in (0.1, 0.25, 0.5, 0.75):
        assert found.quantile(q) == pytest.approx(np.quantile(values, q), rel=0.05)
    mass = np.trapezoid(found.density, np.log(found.eigenvalues))
    assert mass == pytest.approx(1.0)


@given(dim=st.integers(2, 300), theta=st.floats(1e-5, math.pi / 2))
@settings(deadline=None, max_examples=60)
def test_cap_is_the_incomplete_beta(dim, theta):
    got = float(caps.log_cap(dim, np.array([theta]))[0])
    want = 0.5 * betainc((dim - 1) / 2, 0.5, math.sin(theta) ** 2)
    if want > 1e-250:
        assert math.exp(got) == pytest.approx(want, rel=1e-6)


def test_expected_angle_on_the_circle():
    # N(N−1)/2 pairs, P(angle ≤ θ) = θ/π: the median of the smallest is ln 2 · 2π/(N(N−1))
    got = caps.expected_angle(2, 1000)
    assert got == pytest.approx(math.log(2) * 2 * math.pi / (1000 * 999), rel=1e-3)


def test_isotropy_tells_digits_from_a_sphere():
    assert isotropy(ntk.data.sphere(600, 40, seed=1)).isotropic
    assert isotropy(ntk.data.gaussian(300, 64, seed=1)).isotropic
    digits = isotropy(ntk.data.load("digits", seed=0).X.double())
    assert not digits.isotropic
    assert "cosine" in digits.reason
    X = ntk.data.sphere(300, 30, seed=2)
    X[1] = X[0] * 1.5 + 1e-6
    assert "closest pair" in isotropy(X).reason


def test_ten_to_the_nine_samples():
    net = ntk.Network([60, INF, INF, 1], "relu", "unit")
    found = ntk.predict_smallest_eigenvalue(net, 10**9)
    small = ntk.predict_smallest_eigenvalue(net, 10**3)
    assert 0 < found.value < small.value
    assert found.reliable


def test_record_is_plain():
    import json

    net = ntk.Network([20, INF, 1], "tanh", "lecun", "ntk")
    json.dumps(ntk.predict_smallest_eigenvalue(net, 50, data="gaussian").to_dict())
    json.dumps(ntk.predict_spectrum(net, 50).to_dict())


NET = ntk.Network([20, INF, 1], "relu", "unit")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ntk.predict_smallest_eigenvalue(NET, 1), "n_samples"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10.5), "n_samples"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, math.inf), "n_samples"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10**16), "n_samples"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, data="gausian"), "did you mean"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, data="sphere:r=2"), "option"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, data=[1.0, 0.0]), "positive"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, data=[1.0, math.nan]), "positive"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, data=[]), "empty"),
        (lambda: ntk.predict_smallest_eigenvalue(NET, 10, 1), "at least 2"),
        (lambda: ntk.predict_spectrum(NET, 10, points=3), "points"),
        (
            lambda: ntk.predict_smallest_eigenvalue(
                ntk.Network([8, 8, 8, 1], "relu", "he", residual=0.5), 10
            ),
            "residual",
        ),
        (
            lambda: ntk.predict_smallest_eigenvalue(NET, 10, data="sphere:radius=1e300"),
            "finite|overflow",
        ),
    ],
)
def test_bad_input_says_what(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_types():
    with pytest.raises(TypeError, match="Network"):
        ntk.predict_smallest_eigenvalue(object(), 10)
    with pytest.raises(TypeError, match="norms"):
        ntk.predict_smallest_eigenvalue(NET, 10, data=object())


def test_norms_keep_their_mean():
    rng = np.random.default_rng(0)
    norms = rng.gamma(5.0, size=400)
    found = resolve(norms, 400, 7)
    assert found.weights @ found.t == pytest.approx(np.mean(norms**2) / 7)
    gaussian = resolve("gaussian", 10_000, 30)
    assert gaussian.weights @ gaussian.t == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("dim", "n_samples"),
    [(2, 10**4), (2, 10**9), (3, 10**4), (3, 10**6), (3, 10**9), (4, 10**6), (4, 10**9)],
)
def test_the_closest_pair_decides_at_any_number_of_samples(dim, n_samples):
    # λ_min ≈ E min θ · slope: the smallest angle to the power d − 1 is exponentially distributed
    net = ntk.Network([dim, math.inf, math.inf, 1], "relu", "unit")
    found = ntk.predict_smallest_eigenvalue(net, n_samples)
    pair = torch.zeros(2, dim, dtype=torch.float64)
    pair[:, 0] = math.sqrt(dim)
    angle = 1e-3
    pair[1, :2] = math.sqrt(dim) * torch.tensor([math.cos(angle), math.sin(angle)])
    K = ntk.limiting_ntk(net, pair)
    slope = float(K[0, 0] - K[0, 1]) / angle
    p = 1.0 / (dim - 1)
    mean_over_median = math.gamma(1.0 + p) / math.log(2.0) ** p
    expected = slope * found.pair_angle * mean_over_median
    assert found.value == pytest.approx(expected, rel=0.03)
    assert found.reliable
    assert found.lower < found.value < found.upper


@pytest.mark.parametrize("data", ["sphere", "gaussian"])
def test_pairs_of_a_smooth_kernel_do_not_make_the_bulk_unreliable(data):
    # κ(1) − κ(cos θ) is rounding at the smallest angle; no pair is that close at d = 300
    net = ntk.Network([300, 300, 300, 1], "sigmoid", "bombari2022")
    found = ntk.predict_smallest_eigenvalue(net, 1000, data=data)
    assert found.regime == "bulk"
    assert found.reliable


@pytest.mark.parametrize("dim", [2, 3, 5, 8, 12])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_ordinary_settings_in_low_dimension_have_an_answer(dim, activation):
    net = ntk.Network([dim, INF, INF, 1], activation, "lecun", "ntk")
    for data in ("sphere", "gaussian"):
        for n_samples in (100, 1000):
            found = ntk.predict_smallest_eigenvalue(net, n_samples, data=data)
            assert 0.0 <= found.lower <= found.value <= found.upper
            assert math.isfinite(found.error)


@pytest.mark.parametrize(("dim", "activation"), [(3, "tanh"), (5, "gelu"), (12, "softplus")])
def test_coefficients_of_unequal_rows_are_a_gram_matrix_s(dim, activation):
    # each c_r(t) by interpolation against the expansion at that norm
    net = ntk.Network([dim, INF, INF, 1], activation, "lecun", "ntk")
    made = model_of(net, 1000, None, "gaussian")
    assert bool(np.all(made.resolvent.c >= 0.0))
    for row in (0, 5, 20, len(made.norms.t) - 1):
        own = gegenbauer.expand(zonal(net, float(made.norms.t[row]) * dim), dim, 1000)
        want = np.append(own.coefficients, own.tail)
        assert np.max(np.abs(made.resolvent.c[row] - want)) < 1e-3 * own.total


def test_what_does_not_settle_is_said(monkeypatch):
    c = np.array([[1.0, 2.0, 0.5], [0.3, 0.1, 0.2]])
    solver = Resolvent(100.0, np.array([5.0, 0.3, 0.0]), c, np.array([0.5, 0.5]))
    assert solver.state(1.0).z < 0.6
    grid = np.linspace(0.1, 5.0, 20)
    assert np.all(solver.density(grid, 0.01) > 0)
    for name, call in (
        ("_STATE_STEPS", lambda: solver.state(1.0)),
        ("_Z_STEPS", lambda: solver.state(1.0)),
        ("_DENSITY_STEPS", lambda: solver.density(grid, 0.01)),
        ("_NEWTON_STEPS", lambda: ntk.predict_spectrum(NET, 30)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(resolvent, name, 1)
            with pytest.raises(resolvent.NotConvergedError, match="did not settle in 1 steps"):
                call()


@given(shift=st.floats(-3, 3), power=st.sampled_from([1, 3, 5]))
@settings(deadline=None, max_examples=60)
def test_roots_are_scipys(shift, power):
    def f(x):
        return math.copysign(abs(x - shift) ** power, x - shift) + 0.5 * (x - shift)

    found = find_root(f, -4.0, 5.0, 1e-13)
    assert found == pytest.approx(brentq(f, -4.0, 5.0, xtol=1e-13), abs=4e-13)
    with pytest.raises(ValueError, match="no root"):
        find_root(f, shift + 1.0, shift + 2.0, 1e-13)


def test_an_even_activation_gives_one_answer():
    # θ and π − θ have one correlation after |z|; a slope between the two would be rounding over rounding
    net = ntk.Network([100, 400, 300, 1], "abs", "lecun", "ntk")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = [
            ntk.predict_smallest_eigenvalue(net, n, kernel="empirical").value
            for n in (1000, 1001, 1002)
        ]
    assert np.ptp(values) < 2e-3 * values[0]
