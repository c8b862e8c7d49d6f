"""Initializations: each for its parameterization, converted to the other; a user's own."""

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.networks.initialization import register_initialization

WIDTHS = [10, 24, 36, 1]
RULES = ("he", "lecun", "bombari2022:beta=2", "bombari2022-paired:gamma=4", "banerjee2023",
         "banerjee2023:v=gaussian,sigma0_sq=2")  # fmt: skip


@pytest.mark.parametrize("init", RULES)
def test_both_parameterizations_are_one_function_at_the_start(init):
    X = ntk.data.gaussian(7, 10, seed=0)
    models = [ntk.Network(WIDTHS, "tanh", init, p).sample(3) for p in ("standard", "ntk")]
    features = [model.layers(X) for model in models]
    for f, g in zip(*(f + g for f, g in features), strict=True):
        torch.testing.assert_close(f, g, rtol=1e-12, atol=1e-12)
    # and no layer but the last loses or gains a power of its width
    assert 0.05 < float(features[0][1][-2].detach().square().mean()) < 50


def test_unit_is_one_in_both():
    for parameterization in ("standard", "ntk"):
        assert ntk.Network(WIDTHS, "tanh", "unit", parameterization).betas == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_a_unit_output_has_its_norm(parameterization):
    net = ntk.Network(WIDTHS, "tanh", "banerjee2023", parameterization)
    model = net.sample(1)
    norm = float(torch.linalg.vector_norm(model.weights[-1].detach())) * net.scales[-1]
    assert norm == pytest.approx(1 / math.sqrt(36), rel=1e-14)


def test_a_conversion_that_scales_with_an_infinite_width_is_refused():
    net = ntk.Network([10, math.inf, 1], "tanh", "bombari2022", "ntk")
    with pytest.raises(ValueError, match="is for the 'standard' parameterization"):
        _ = net.betas


def test_a_rule_of_ones_own():
    register_initialization(
        "rule_of_a_test",
        lambda setting: [setting.number("scale") / n for n in setting.fan_in],
        options={"scale": 3.0},
        parameterization="standard",
    )
    net = ntk.Network([4, 9, 1], "relu", "rule_of_a_test:scale=2")
    assert net.betas == (0.5, 2 / 9)
    assert ntk.Network([4, 9, 1], "relu", "rule_of_a_test", "ntk").betas == (1.5, 1.0)
    assert ntk.Network(**net.to_dict()) == net
    with pytest.raises(ValueError, match="scale must be > 0"):
        ntk.Network([4, 9, 1], "relu", "rule_of_a_test:scale=0")
    with pytest.raises(ValueError, match="'he' is registered already"):
        register_initialization("he", lambda _: [1.0])
    register_initialization("short_rule_of_a_test", lambda _: [1.0])
    with pytest.raises(ValueError, match="1 standard deviations for 2 layers"):
        _ = ntk.Network([4, 9, 1], "relu", "short_rule_of_a_test").betas


def test_repr_makes_the_network_again():
    inf = math.inf  # the repr's
    Network = ntk.Network  # noqa: F841
    for net in (
        ntk.Network([5, 3, 1]),
        ntk.Network([5, inf, 1], "leaky_relu:alpha=0.2", "lecun", "ntk", bias_std=0.1),
        ntk.Network([5, 5, 1], "tanh", [1, 2], weights="uniform", residual=0.5),
    ):
        assert eval(repr(net)) == net
    assert repr(ntk.Network([5, 3, 1])) == "Network([5, 3, 1], 'relu')"


def test_widths_may_be_an_array():
    for widths in (np.array([5, 3, 1]), np.array([5.0, 3.0, 1.0]), np.array([5, 3, 1], np.int32)):
        assert ntk.Network(widths) == ntk.Network([5, 3, 1])
        assert all(type(n) is int for n in ntk.Network(widths).widths)
    with pytest.raises(ValueError, match="positive integers"):
        ntk.Network(np.array([5.0, 2.5, 1.0]))
