"""Network: initializations, constants, the paired network, bad input."""

import math
import pickle

import pytest
import torch

import ntkscope as ntk
from ntkscope.activations.expectation import second_moment


def test_named_initializations_have_the_papers_variances():
    widths = [10, 20, 30, 1]
    assert ntk.Network(widths, init="unit").betas == (1.0, 1.0, 1.0)
    he = ntk.Network(widths, init="he").betas
    assert he == pytest.approx([math.sqrt(2 / n) for n in widths[:-1]])
    assert ntk.Network(widths, init="he", parameterization="ntk").betas == (math.sqrt(2),) * 3
    bombari = ntk.Network(widths, "tanh", "bombari2022:beta=2").betas
    assert bombari == pytest.approx([2 / math.sqrt(10), 2 / math.sqrt(20), 2])
    paired = ntk.Network(widths, "tanh", "bombari2022-paired:gamma=9").betas
    assert paired == pytest.approx([1 / math.sqrt(10), 1 / math.sqrt(20), 3])
    # E tanh² ≤ E z², so ν_0 ≥ 1 always
    nu = ntk.Network(widths, "tanh", "banerjee2023:sigma0_sq=0.25", "ntk").betas[0]
    assert nu > 1
    assert ntk.Network(widths, init=[1, 2, 3]).betas == (1.0, 2.0, 3.0)


def test_second_moment_of_relu_and_identity():
    assert second_moment(ntk.activations.relu(), 3.0) == pytest.approx(1.5, rel=1e-13)
    assert second_moment(ntk.activations.identity(), 0.2) == pytest.approx(0.2, rel=1e-13)


@pytest.mark.parametrize("law", ["gaussian", "uniform", "rademacher", "orthogonal"])
def test_weights_have_equal_variance(law):
    net = ntk.Network([200, 300, 1], init=[0.7, 1.0], weights=law)
    W = net.sample(0).weights[0].detach()
    # the mean square of 60000 entries, five standard errors of the Gaussian's (the widest) law
    assert float(W.square().mean()) == pytest.approx(0.49, rel=5 * math.sqrt(2 / W.numel()))
    if law == "orthogonal":
        gram = W @ W.T
        torch.testing.assert_close(gram, 0.49 * 300 * torch.eye(200).double())


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("gamma", ["1", "1e12"])
def test_paired_output_is_exactly_zero(gamma, parameterization):
    net = ntk.Network(
        [30, 64, 50, 1], "tanh", f"bombari2022-paired:gamma={gamma}", parameterization
    )
    for dtype in ("float64", "float32"):
        X = ntk.data.gaussian(201, 30, seed=5).to(getattr(torch, dtype))
        out = net.sample(3, dtype=dtype)(X)
        assert torch.equal(out, torch.zeros_like(out))


def test_paired_forward_is_the_plain_forward_when_the_halves_differ():
    net = ntk.Network([4, 6, 1], "tanh", "bombari2022-paired")
    model = net.sample(0)
    with torch.no_grad():
        for weight in model.weights:
            weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    plain = ntk.MLP.from_weights([w.detach() for w in model.weights], "tanh")
    X = ntk.data.gaussian(9, 4, seed=1)
    torch.testing.assert_close(model(X), plain(X), rtol=1e-13, atol=1e-13)


def test_state_dict_pickle_and_from_weights():
    net = ntk.Network([3, 5, 2], "gelu", bias_std=0.1)
    model, X = net.sample(0), ntk.data.gaussian(4, 3, seed=0)
    other = net.sample(1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))
    assert ntk.Network(**net.to_dict()) == net
    assert hash(ntk.Network(**net.to_dict())) == hash(net)
    again = ntk.MLP.from_weights(
        [w.detach().numpy() for w in model.weights], "gelu",
        biases=[b.detach().numpy() for b in model.biases],
    )  # fmt: skip
    assert torch.equal(again(X), model(X))
    with pytest.raises(ValueError, match="were given, not sampled"):
        _ = again.network.betas
    relu = ntk.Network([3, 5, 1])
    assert pickle.loads(pickle.dumps(relu.to_dict())) == relu.to_dict()


def test_normalization_exists_only_where_a_limit_does():
    assert ntk.Network([3, 8, 4, 1], init="unit").ntk_normalization == 2 / 8 * 2 / 4
    assert ntk.Network([3, 8, 1], "tanh", "unit", "ntk").ntk_normalization == 1
    for net in (ntk.Network([3, 8, 1], init="he"), ntk.Network([3, 8, 1], "tanh", "unit")):
        with pytest.raises(ValueError, match="no common wide limit"):
            _ = net.ntk_normalization


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [3, 1]}, "at least one hidden layer"),
        ({"widths": [3, 0, 1]}, "positive integers"),
        ({"widths": [3, 2.5, 1]}, "positive integers"),
        ({"widths": [math.inf, 4, 1]}, "positive integers"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"activation": "relu:alpha=1"}, "takes no options"),
        ({"activation": "leaky_relu:alfa=1"}, "did you mean 'alpha'"),
        ({"init": "hee"}, "did you mean 'he'"),
        ({"init": [1.0]}, "one β_l a layer"),
        ({"init": [1.0, -1.0]}, "positive and finite"),
        ({"init": "bombari2022:beta=-1"}, "beta must be > 0"),
        ({"init": "bombari2022-paired", "widths": [3, 5, 1]}, "must be even"),
        ({"parameterization": "nkt"}, "did you mean 'ntk'"),
        ({"weights": "gauss"}, "did you mean 'gaussian'"),
        ({"bias_std": -1.0}, "at least 0"),
        ({"residual": 1.0, "widths": [3, 4, 1]}, "one width"),
    ],
)
def test_bad_networks_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.Network(**{"widths": [3, 4, 1], **arguments})


def test_infinite_networks_print_but_do_not_sample():
    net = ntk.Network([3, math.inf, 1])
    assert "∞" in str(net)
    with pytest.raises(ValueError, match="infinite widths"):
        net.sample(0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([torch.ones(3, 4), torch.ones(3, 1)], "do not chain"),
        ([torch.ones(3, 4)], "at least two"),
        ([torch.ones(3, 4), torch.full((4, 1), float("inf"))], "W_2 has 4 entries"),
    ],
)
def test_bad_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        ntk.MLP.from_weights(weights)
