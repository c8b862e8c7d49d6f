"""Curvature over the width and over σ_0²."""

import pytest
import torch

import ntkscope as ntk
from ntkscope.training.tradeoff import curvature_scaling, in_spectral_ball, measure

NET = ntk.Network([8, 1, 1, 1], "tanh", "banerjee2023", "ntk")
X = ntk.data.sphere(n_samples=4, dim=8, seed=0)


def test_the_norm_falls_like_one_over_root_width():
    result = curvature_scaling(NET, X, [32, 64, 128, 256], networks=4)
    assert result.converged
    assert result.exponent == pytest.approx(-0.5, abs=0.12 + 2 * result.exponent_error)
    assert result.constant >= max(result.maxima[0]) * 32**0.5
    assert "c_H" in str(result)


def test_points_of_the_ball_lie_on_its_boundary():
    model = NET.with_widths([8, 12, 9, 1]).sample(0)
    moved = in_spectral_ball(model, 0.7, 0.2, seed=1)
    for index, (w, v) in enumerate(zip(model.weights, moved.weights, strict=True)):
        distance = float(torch.linalg.matrix_norm((v - w).detach(), 2))
        assert distance == pytest.approx(0.2 if index == 2 else 0.7, rel=1e-12)
    away = curvature_scaling(NET, X, [16, 32, 64], rho=1.0, rho1=0.5, networks=1)
    assert away.rho == 1.0
    with pytest.raises(ValueError, match="radii"):
        in_spectral_ball(model, -1.0, 0.0, seed=0)
    with pytest.raises(ValueError, match="three widths"):
        curvature_scaling(NET, X, [8, 8, 16])


def test_nu0_is_at_least_one_for_tanh():
    # |φ′| ≤ 1 and φ(0) = 0 give c_{φ,σ0} ≤ σ_0², so ν_0 = σ_0/√c ≥ 1 at every σ_0²
    for sigma0_sq in (1e-3, 0.25, 1.0, 9.0):
        got = measure(0, sigma0_sq=sigma0_sq, layers=2, m=20, N=6, d=5, samples=3)
        assert got["nu0"] >= 1.0
        assert got["lambda_min"] > got["lambda_min_error"]
        assert got["hessian"] > 0
