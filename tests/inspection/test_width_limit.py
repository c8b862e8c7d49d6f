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

    from ntkscope.inspection.width_limit import _slope

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
