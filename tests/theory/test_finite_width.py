"""The finite-width law against sampled networks, its limits, and what it refuses."""

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.theory import prediction
from ntkscope.theory.finite_width import finite_width, outside


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
    ],
)
def test_sampled_networks_are_in_the_stated_range(widths, activation, init):
    net = ntk.Network(widths, activation, init)
    found = ntk.predict_smallest_eigenvalue(net, 300, kernel="empirical")
    values = measured(net, 300, range(4))
    spread = values.std(ddof=1)
    assert found.lower - spread < values.mean() < found.upper + spread
    limit = ntk.predict_smallest_eigenvalue(net, 300)
    # and the law says more than the limit does
    assert abs(values.mean() - found.value) < abs(values.mean() - limit.value)
    assert found.kernel == "empirical"


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
    # the free edge: the finite-width law leaves out what near neighbours move it by
    free = prediction._kernel(net, 300, None, "sphere").resolvent.edge().value
    assert law.limit == pytest.approx(free, rel=0.01)


def test_more_samples_than_parameters_is_zero():
    net = ntk.Network([60, 10, 1], "relu", "he")
    found = ntk.predict_smallest_eigenvalue(net, 700, kernel="empirical")
    assert found.value == found.upper == 0
    assert "610 parameters" in found.reason


@pytest.mark.parametrize(
    ("net", "n_samples", "words"),
    [
        (ntk.Network([60, math.inf, 1], "relu", "unit"), 100, "finite widths"),
        (ntk.Network([60, 50, 1], "relu", "he"), 100, "at least 100, got 50"),
        (ntk.Network([20, 200, 1], "relu", "he"), 100, "d ≥ 50"),
        (ntk.Network([60, 200, 1], "relu", "he"), 1500, "ten parameters"),
        (ntk.Network([60, 2000, 1], "relu", "he"), 1500, "d²/4"),
        (ntk.Network([60, *[200] * 5, 1], "relu", "he"), 100, "2 to 4 layers"),
        (ntk.Network([60, 200, 1], "relu", "he", bias_std=0.1), 100, "biases"),
        (ntk.Network([60, 200, 3], "relu", "he"), 100, "single output"),
        (ntk.Network([60, 200, 1], "relu", "he", weights="orthogonal"), 100, "Gaussian weights"),
    ],
)
def test_outside_its_domain_it_refuses(net, n_samples, words):
    assert words in outside(net, n_samples)
    with pytest.raises(ValueError, match="finite-width"):
        ntk.predict_smallest_eigenvalue(net, n_samples, kernel="empirical")
