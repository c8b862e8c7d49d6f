"""κ_p against the kernel itself, against mpmath's derivatives, and against a higher degree."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.kernels.limiting import power_series as module
from ntkscope.kernels.limiting.recursion import scales_of
from oracles.power_series import relu_taylor

RHO = np.linspace(-1.0, 1.0, 9)


def _pairs(d, norm):
    rows = torch.zeros(1 + len(RHO), d, dtype=torch.float64)
    rows[0, 0] = norm
    rows[1:, 0] = torch.from_numpy(norm * RHO)
    rows[1:, 1] = torch.from_numpy(norm * np.sqrt(1.0 - RHO**2))
    return rows


@pytest.mark.parametrize("bias_std", [None, 0.4])
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu:alpha=0.2", "tanh", "erf", "gelu"])
def test_encloses_the_kernel(activation, depth, bias_std):
    net = ntk.Network([5, *[30] * (depth - 1), 2], activation, bias_std=bias_std)
    series = ntk.power_series(net, 120, norm=1.7)
    K = ntk.limiting_kernel(net, _pairs(5, 1.7))
    low, high = series(RHO)
    truth = K.dense()[0, 1:].numpy()
    slack = K.entry_error() * float(K.diagonal()[0])
    assert (low <= truth + slack).all()
    assert (truth <= high + slack).all()
    own = float(K.diagonal()[0])
    assert series.total[0] <= own + slack
    assert own <= series.total[1] + slack
    # what is not known is the sum above the degree, and little else
    assert high[4] - low[4] <= 1e-9 * own


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 6])
@pytest.mark.parametrize("activation", ["relu", "sin"])
def test_encloses_the_kernel_at_a_low_degree(activation, degree):
    net = ntk.Network([5, 30, 30, 1], activation)
    low, high = ntk.power_series(net, degree, norm=1.7)(RHO)
    truth = ntk.limiting_ntk(net, _pairs(5, 1.7))[0, 1:].numpy()
    assert (low <= truth).all()
    assert (truth <= high).all()


@pytest.mark.parametrize("bias_std", [None, 0.5])
def test_relu_is_mpmaths_taylor_series(bias_std):
    net = ntk.Network([4, 7, 6, 1], "relu", bias_std=bias_std)
    series = ntk.power_series(net, 12, norm=2.0)
    exact = relu_taylor(net.betas, net.widths[1:-1], 4.0, None if bias_std is None else 0.25, 12)
    for low, value, high in zip(series.lower, exact, series.upper, strict=True):
        assert low <= value <= high
        assert high - low <= 1e-11 * series.total[1]


@pytest.mark.parametrize("activation", ["relu", "sin", "softplus:beta=2"])
def test_a_lower_degree_knows_no_more(activation):
    net = ntk.Network([6, math.inf, math.inf, 1], activation, "lecun", "ntk")
    few, many = ntk.power_series(net, 9), ntk.power_series(net, 150)
    assert (few.lower <= many.upper[:10]).all()
    assert (many.lower[:10] <= few.upper).all()
    low, high = few.rest
    beyond = many.upper[10:].sum() + many.rest[1]
    assert low <= beyond * (1 + 1e-12)
    assert many.lower[10:].sum() + many.rest[0] <= high * (1 + 1e-12)


def _product_is_inside(seed):
    """Whether the ends of a product of two series hold the exact one, coefficient by coefficient."""
    rng = np.random.default_rng(seed)
    made = [module.Series(np.tile(rng.random(8), (2, 1))) for _ in range(2)]
    a, b = ([Fraction(v) for v in one.ends[0].tolist()] for one in made)
    ends = (made[0] * made[1]).ends
    for p in range(7):
        exact = sum(a[q] * b[p - q] for q in range(p + 1))
        if not Fraction(ends[0, p]) <= exact <= Fraction(ends[1, p]):
            return False
    return True


def test_products_are_enclosed_and_without_roundings_are_not(monkeypatch):
    assert all(map(_product_is_inside, range(50)))
    monkeypatch.setattr(module, "_widened", lambda ends, _: ends)
    assert not any(map(_product_is_inside, range(50)))


def _total_is_inside(seed):
    """Whether K(x, x) of a deep ReLU network, in fractions, lies within the series' total."""
    betas = np.random.default_rng(seed).uniform(0.5, 2.0, 16).tolist()
    net = ntk.Network([3, *[7] * 15, 1], init=betas, bias_std=0.3)
    scales = scales_of(net, 1)
    features = theta = Fraction(scales.input) * Fraction(1.7) ** 2
    theta += 1
    for n, inner, outer in zip(scales.sizes, scales.betas_sq, scales.betas_sq[1:], strict=False):
        features = Fraction(n) * (Fraction(inner) * features + Fraction(scales.bias_var)) / 2
        theta = theta * Fraction(n) * Fraction(outer) / 2 + features + 1
    low, high = ntk.power_series(net, 2, norm=1.7).total
    return Fraction(low) <= theta <= Fraction(high)


def test_the_total_of_a_deep_network_is_enclosed():
    assert all(map(_total_is_inside, range(20)))


def test_both_ends_of_a_variance_are_carried():
    """C = vρ for v between 1 and 2: what a ReLU makes of either end lies between the ends."""
    ends = np.zeros((2, 6))
    ends[:, [1, -1]] = [[1.0], [2.0]]
    value, slope = module._through(ntk.activations.activation("relu"), module.Series(ends))
    for v in (1.0, 2.0):
        table = ntk.hermite_coefficients("relu", 4, np.array([v]))
        exact = np.append(table.values[0] ** 2, 0.5 * v)
        assert (value.ends[0] <= exact * (1 + 1e-14)).all()
        assert (exact * (1 - 1e-14) <= value.ends[1]).all()
    assert slope.ends[0, -1] <= 0.5 <= slope.ends[1, -1]


def test_bad_input():
    net = ntk.Network([3, 4, 1])
    with pytest.raises(ValueError, match="within 0 … 2000"):
        ntk.power_series(net, 2001)
    with pytest.raises(ValueError, match="norm must be positive"):
        ntk.power_series(net, 3, norm=0.0)
    with pytest.raises(ValueError, match="residual"):
        ntk.power_series(ntk.Network([3, 3, 3, 1], residual=0.5), 3)
    with pytest.raises(ValueError, match=r"within \[-1, 1\]"):
        ntk.power_series(net, 3)(1.5)
