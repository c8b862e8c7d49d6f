"""The finite-width law against sampled networks, its limits, and what it refuses."""

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.kernels.limiting.zonal import zonal_ntk
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.finite_width import _Solver, finite_width, outside
from ntkscope.prediction.model import model_of
from ntkscope.prediction.random_features import layer_parts, parts_of, sum_values
from ntkscope.prediction.resolvent import TRACY_WIDOM_MEAN


def measured(net, n_samples, seeds):
    values = []
    for seed in seeds:
        X = ntk.data.sphere(n_samples, net.dim, seed=seed)
        K = ntk.empirical_ntk(net.sample(seed + 50), X).dense()
        values.append(float(torch.linalg.eigvalsh(K)[0]))
    return np.array(values)


@pytest.mark.parametrize(
    ("widths", "activation", "init"),
    [
        ((100, 300, 1), "tanh", "he"),
        ((100, 200, 200, 1), "sigmoid", "bombari2022"),
        ((100, 200, 200, 1), "relu", "he"),
        ((100, 800, 80, 1), "tanh", "he"),
        ((60, 150, 150, 150, 1), "gelu", "he"),
    ],
)
def test_sampled_networks_are_in_the_stated_range(widths, activation, init):
    net = ntk.Network(widths, activation, init)
    found = ntk.predict_smallest_eigenvalue(net, 200, kernel="empirical")
    law = finite_width(net, 200)
    values = measured(net, 200, range(8))
    noise = 3 * values.std(ddof=1) / math.sqrt(len(values))
    assert law.lower * found.value - noise < values.mean() < law.upper * found.value + noise
    limit = ntk.predict_smallest_eigenvalue(net, 200)
    # and the law says more than the limit does
    assert abs(values.mean() - found.value) < 0.5 * abs(values.mean() - limit.value)
    assert found.kernel == "empirical"


@pytest.mark.parametrize(("layer", "widths"), [(1, (60, 400, 1)), (2, (60, 400, 800, 1))])
def test_the_gram_matrix_of_one_layer(layer, widths):
    # the iterated Marchenko-Pastur law, on its own
    net = ntk.Network(widths, "tanh", "he")
    chosen = [p for p in feature_parts(net, 200) if len(p.stages) > 0]
    law = _Solver(60, 200.0, chosen).smallest(0.0)[0]
    values = []
    for seed in range(8):
        X = ntk.data.sphere(200, 60, seed=seed)
        factor = ntk.empirical_ntk(net.sample(seed + 9), X).terms[layer].features
        values.append(float(torch.linalg.eigvalsh(factor.rows @ factor.rows.T)[0]))
    noise = 3 * np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(law, abs=0.03 * law + noise)


def feature_parts(net, n_samples):
    """Those of the last features: the kernel's term of the output weights, whose signal is 1."""
    made = layer_parts(net, float(n_samples), float(net.dim))[0]
    return made[-1]


def test_very_wide_networks_reach_the_limit():
    shares = []
    for width in (10**3, 10**5, 10**7):
        law = finite_width(ntk.Network([80, width, width, 1], "relu", "he"), 300)
        shares.append(law.value / law.limit)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


def test_its_limit_is_the_limiting_prediction():
    net = ntk.Network([80, 10**7, 10**7, 1], "tanh", "he")
    law = finite_width(net, 300)
    # without what near neighbours move it by, which the finite-width law leaves out
    edge = model_of(net, 300, None, "sphere").resolvent.edge()
    assert law.limit == pytest.approx(edge.value + TRACY_WIDOM_MEAN * edge.scale, rel=1e-3)


def test_the_parts_of_a_kernel_add_up_to_its_limit():
    net = ntk.Network([80, 200, 150, 100, 1], "gelu", "he")
    theta = gegenbauer.nodes(80, 300)[:-1]
    whole = zonal_ntk(net, np.array([80.0]), theta)[0]
    total = sum_values(parts_of(net, 300.0, 80.0))[:-1]
    assert np.allclose(total, whole, rtol=1e-10)


def test_more_samples_than_parameters_is_zero():
    net = ntk.Network([60, 10, 1], "relu", "he")
    found = ntk.predict_smallest_eigenvalue(net, 700, kernel="empirical")
    assert found.value == found.upper == 0
    assert "610 parameters" in found.reason


@pytest.mark.parametrize(
    ("net", "n_samples", "words"),
    [
        (ntk.Network([60, math.inf, 1], "relu", "unit"), 100, "finite widths"),
        (ntk.Network([60, 50, 1], "relu", "he"), 100, "at least 60, got 50"),
        (ntk.Network([20, 200, 1], "relu", "he"), 100, "d ≥ 30"),
        (ntk.Network([60, 100, 1], "relu", "he"), 1500, "five parameters"),
        (ntk.Network([60, 2000, 1], "relu", "he"), 1900, "d(d+1)/2"),
        (ntk.Network([60, *[200] * 7, 1], "relu", "he"), 100, "2 to 6 layers"),
        (ntk.Network([60, 200, 1], "relu", "he", bias_std=0.1), 100, "biases"),
        (ntk.Network([60, 200, 3], "relu", "he"), 100, "single output"),
        (ntk.Network([60, 200, 1], "relu", "he", weights="orthogonal"), 100, "Gaussian weights"),
    ],
)
def test_outside_its_domain_it_refuses(net, n_samples, words):
    assert words in outside(net, n_samples)
    with pytest.raises(ValueError, match="finite-width"):
        ntk.predict_smallest_eigenvalue(net, n_samples, kernel="empirical")
