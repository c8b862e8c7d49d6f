"""How the sizes of a layer's parts vary from row to row, against closed forms and sampled layers."""

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.prediction.row_sizes import at_layer, neuron


def activation(name):
    return ntk.Network([2, 2, 1], name).activation


@pytest.mark.parametrize("name", ["relu", "leaky_relu:alpha=0.2", "abs"])
@pytest.mark.parametrize(("slope", "degree"), [(False, 1.0), (True, 0.0)])
def test_elasticities_of_a_homogeneous_activation_add_up_to_its_degree(name, slope, degree):
    found = neuron(activation(name), 0.7, 0.4, slope)
    for size in (found.linear, found.rest, found.varying, found.mean):
        # a jump lies somewhere between two of the 80 nodes: 0.25 apart, of density 0.4
        assert size.elasticity.sum() == pytest.approx(degree, abs=0.05)


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid"])
def test_elasticities_are_derivatives(name):
    phi, h = activation(name), 1e-3
    at = neuron(phi, 0.7, 0.4, False)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()

    def mean_square(q_v, q_s):
        u = math.sqrt(q_s) * z[:, None] + math.sqrt(q_v) * z[None, :]
        return float(w @ (phi.phi(torch.from_numpy(u)).numpy() @ w) ** 2)

    for k, (a, b) in enumerate(((h, 0.0), (0.0, h))):
        up, down = (mean_square(0.7 * math.exp(s * a), 0.4 * math.exp(s * b)) for s in (1, -1))
        assert at.mean.elasticity[k] == pytest.approx(math.log(up / down) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("n", [20.0, 400.0])
def test_the_linear_part_is_chi_squared(n):
    # E n/χ²_n = n/(n − 2)
    linear = neuron(activation("tanh"), 1.0, 0.0, False).linear
    assert linear.own(n) == pytest.approx(-math.log1p(-2.0 / n), rel=1e-6)


def test_a_heavy_tail_counts_less_than_its_variance():
    rest = neuron(activation("sin"), 0.3, 0.0, False).rest
    n = 50.0
    squares = rest.squares[0]
    _, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    variance = float(w @ squares**2 - 1.0) / n
    assert rest.own(n) < 0.5 * variance
    draws = np.random.default_rng(0).standard_normal((20000, 50))
    phi = np.sin(math.sqrt(0.3) * draws)
    slope = math.sqrt(0.3) * math.exp(-0.15)
    S = ((phi - slope * draws) ** 2).mean(axis=1)
    measured = math.log(S.mean() * (1.0 / S).mean())
    assert rest.own(n) == pytest.approx(measured, rel=0.1)


def test_relu_features_vary_by_five_over_n():
    # Var ‖φ(Wx)‖²/(E‖φ(Wx)‖²)² = (E φ⁴/(E φ²)² − 1)/n, all of it where nothing is shared
    found = neuron(activation("relu"), 1.0, 0.0, False)
    total = 0.5
    mean = 1.0 / (2.0 * math.pi)
    share = np.array([total - mean, mean]) / total
    assert share @ found.covariance @ share == pytest.approx(5.0, rel=0.02)


def test_what_the_layer_below_does_is_handed_on():
    first = neuron(activation("relu"), 1.0, 0.0, False)
    below = first.uneven(1, 100.0, np.zeros((2, 2, 2)))
    assert not below[1].any()
    second = neuron(activation("relu"), 0.34, 0.16, False)
    spread = second.rest.spread(2, 200.0, below)
    assert spread[1] == pytest.approx(second.rest.own(200.0))
    assert spread[0] > 0
    assert np.array_equal(at_layer(2, 3.0, 3), [0.0, 3.0, 0.0])
