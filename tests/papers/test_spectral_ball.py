"""Banerjee et al. 2023, §5: the Hessian over the spectral ball, from above and from below."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.banerjee2023.spectral_ball import (
    hessian_ascent,
    hessian_bound,
    second_derivative,
)
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find
from ntkscope.training.curvature import hessian_norms


def sphere(width, N, dim):
    net = ntk.Network([dim, width, width, 1], "tanh", "banerjee2023", "ntk")
    law = ntk.data.Sphere(dim)
    return Instance(net, law.sample(N, 0), distribution=law, trials=4)


def test_the_hessian_stays_below_the_explicit_bound():
    generator = torch.Generator().manual_seed(0)
    for activation, scale in (("tanh", 1.0), ("softplus", 3.0), ("gelu", 0.3)):
        net = ntk.Network([6, 9, 7, 5, 1], activation, "he", "standard")
        model = net.sample(1)
        X = scale * torch.randn(4, 6, generator=generator, dtype=torch.float64)
        norms = [float(torch.linalg.matrix_norm(w.detach(), 2)) for w in model.weights]
        measured = hessian_norms(model, X, tol=1e-8)
        for x, value in zip(X, measured.values.tolist(), strict=True):
            bound = hessian_bound(net, norms[:-1], norms[-1], float(x.norm()))
            assert value <= bound
            assert bound < 1e4 * value


def test_the_hessian_bound_is_attained_by_one_neuron_after_another():
    """φ(z) = z, one neuron a layer: ∂²f/∂v∂w_1 = w_2 x, … and H is the Hessian itself."""
    net = ntk.Network([1, 1, 1, 1], "identity", (1.0, 1.0, 1.0), "standard")
    model = net.sample(3)
    w1, w2, v = (abs(float(w.detach())) for w in model.weights)
    exact = torch.tensor([[0.0, v, w2], [v, 0.0, w1], [w2, w1, 0.0]], dtype=torch.float64)
    bound = hessian_bound(net, (w1, w2), v, 1.0)
    assert bound == pytest.approx(float(torch.linalg.eigvalsh(exact)[-1]), rel=1e-10)


def test_the_hessian_bound_counts_the_curvature_of_the_activation():
    """f = v sin(w x) at w = π/2, x = 1: ∂²f/∂w² = −v, and φ′ = 0 leaves nothing else."""
    net = ntk.Network([1, 1, 1], "sin", (1.0, 1.0), "standard")
    bound = hessian_bound(net, (math.pi / 2,), 100.0, 1.0)
    assert 100.0 <= bound <= 100.0 + 1.0 / 100.0 + 1e-9


def test_second_derivatives_are_those_of_autograd():
    net = ntk.Network([3, 5, 4, 1], "tanh", "banerjee2023", "ntk")
    model = net.sample(0)
    weights = [w.detach() for w in model.weights]
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, generator=generator, dtype=torch.float64)
    V = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    a = x
    for W, D, s in zip(weights[:-1], V[:-1], net.scales[:-1], strict=True):
        a = torch.tanh(s * (a @ (W + t * D)))
    f = (net.scales[-1] * (a @ (weights[-1] + t * V[-1]))).sum()
    (first,) = torch.autograd.grad(f, t, create_graph=True)
    (second,) = torch.autograd.grad(first, t)
    assert float(second_derivative(net, weights, x, V)) == pytest.approx(float(second), rel=1e-12)


def test_the_ascent_rises_and_stays_in_the_ball():
    instance = sphere(30, 3, 8)
    start, _ = hessian_ascent(instance.model, instance.X[0], 0.0, 0.0)
    measured = hessian_norms(instance.model, instance.X[:1], tol=1e-8).maximum
    assert start == pytest.approx(measured, rel=1e-3)
    assert start <= measured * (1 + 1e-9)
    top, weights = hessian_ascent(instance.model, instance.X[0], 2.0, 0.5)
    assert top > 1.05 * start
    for radius, w, centre in zip((2.0, 2.0, 0.5), weights, instance.model.weights, strict=True):
        off = float(torch.linalg.matrix_norm((w - centre.detach()), 2))
        assert off <= radius * (1 + 1e-12)
        assert off > 0


def test_proposition_5_1_with_an_explicit_constant():
    verdict = find("banerjee2023.proposition-5.1").check(sphere(40, 4, 10))
    assert verdict.outcome == "holds"
    rows = verdict.tables[0]["rows"]
    assert all(measured <= own <= c_H for _, _, measured, own, c_H, *_ in rows)
    gaussian = ntk.Network([10, 40, 40, 1], "tanh", "banerjee2023:v=gaussian", "ntk")
    other = Instance(gaussian, ntk.data.sphere(4, 10, seed=0), trials=4)
    assert find("banerjee2023.proposition-5.1").check(other).outcome == "does not apply"
