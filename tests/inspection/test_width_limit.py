"""The distance to the wide limit, and the exponent of its decay."""

import json
import math

import pytest
import torch

import ntkscope as ntk


def _rows(seed, n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_distance_is_the_norm_of_the_difference():
    X = _rows(0, 12, 5)
    model = ntk.Network([5, 64, 48, 1], "gelu", "lecun", "ntk").sample(seed=3)
    found = ntk.width_limit(model, X, scales=(1.0, 2.0), draws=2)
    K, limit = ntk.empirical_ntk(model, X).dense(), ntk.limiting_ntk(model.network, X)
    expected = float(torch.linalg.matrix_norm(K - limit, 2))
    assert found.distance == pytest.approx(expected, rel=1e-12)
    assert found.relative == pytest.approx(expected / float(torch.linalg.matrix_norm(limit, 2)))
    gap = abs(float(torch.linalg.eigvalsh(K)[0]) - found.limiting.value)
    assert gap <= found.distance + found.limiting.error
    assert json.loads(json.dumps(found.to_dict()))["convergence"]["n_samples"] == 12
    assert "limiting λ_min" in str(found)


def test_exponent_is_minus_one_half():
    net = ntk.Network([6, 512, 512, 1], "relu", "he")
    found = ntk.width_convergence(net, _rows(1, 20, 6), draws=8)
    assert [p.widths[1] for p in found.points] == [64, 128, 256, 512]
    assert found.lower <= -0.5 <= found.upper
    assert found.upper < -0.25
    again = ntk.width_convergence(net, _rows(1, 20, 6), draws=8)
    assert found == again


def test_slope_of_a_line_with_noise_matches_the_formula():
    from scipy.stats import linregress, t

    from ntkscope.inspection.convergence import _slope

    x = [math.log(n) for n in (10, 20, 40, 80, 160)]
    y = [0.1, -0.3, -0.5, -1.1, -1.2]
    slope, lower, upper = _slope(x, y)
    fit = linregress(x, y)
    assert slope == pytest.approx(fit.slope)
    assert (upper - lower) / 2 == pytest.approx(fit.stderr * t.ppf(0.975, 3))


def test_what_cannot_be_compared_says_why():
    X = _rows(0, 6, 4)
    residual = ntk.Network([4, 4, 4, 1], "relu", "lecun", residual=0.5).sample(seed=0)
    found = ntk.width_limit(residual, X)
    assert found.convergence is None
    assert "residual" in found.note
    given = ntk.MLP.from_weights([torch.ones(4, 3), torch.ones(3, 1)])
    with pytest.raises(ValueError, match="not known"):
        ntk.width_limit(given, X)
    with pytest.raises(ValueError, match="two widths"):
        ntk.width_convergence(ntk.Network([4, 9, 1]), X, scales=(1.0,))


def _cnn(width):
    return torch.nn.Sequential(
        torch.nn.Conv1d(2, width, 3), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(4 * width, 1),
    ).double()  # fmt: skip


def test_a_module_and_its_limit_term_by_term():
    X = _rows(0, 12, 12).reshape(12, 2, 6)
    torch.manual_seed(0)
    model = _cnn(48)
    found = ntk.width_limit(model, X)
    K, limit = ntk.empirical_ntk(model, X).dense(), ntk.limiting_ntk(model, X)
    expected = float(torch.linalg.matrix_norm(K - limit, 2))
    assert found.distance == pytest.approx(expected, rel=1e-12)
    assert [t.name for t in found.terms] == [n for n, _ in model.named_parameters()]
    assert sum(t.limiting_trace for t in found.terms) == pytest.approx(float(limit.trace()))
    assert sum(t.trace for t in found.terms) == pytest.approx(float(K.trace()))
    worst = max(t.relative * t.limiting_trace for t in found.terms)
    assert found.distance <= len(found.terms) * worst
    assert all(p.requires_grad for p in model.parameters())
    assert "3.bias" in json.dumps(found.to_dict())
    assert found.convergence is None
    assert "function from a width" in found.note


def test_exponent_of_a_builder():
    X = _rows(2, 8, 12).reshape(8, 2, 6)
    state = torch.get_rng_state()
    found = ntk.width_convergence(_cnn, X, widths=(8, 128), draws=6)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.widths for p in found.points] == [(8,), (128,)]
    assert found.lower <= -0.5 <= found.upper
    assert found.upper < -0.25


def test_builders_that_are_none():
    X = _rows(2, 4, 12).reshape(4, 2, 6)
    for bad in (_cnn(4), 3, lambda w: w):
        with pytest.raises(TypeError, match=r"a function|an nn\.Module"):
            ntk.width_convergence(bad, X)
    with pytest.raises(ValueError, match="takes widths"):
        ntk.width_convergence(_cnn, X, scales=(1.0, 2.0))
    with pytest.raises(ValueError, match="takes scales"):
        ntk.width_convergence(ntk.Network([4, 9, 1]), _rows(0, 4, 4), widths=(1, 2))
    with pytest.raises(ValueError, match="two widths"):
        ntk.width_convergence(_cnn, X, widths=(8,))
    with pytest.raises(ValueError, match="whole numbers"):
        ntk.width_convergence(_cnn, X, widths=(8, 0))
