"""φ, φ′, φ″ against autograd and mpmath; the constants against a dense search."""

import math

import mpmath
import pytest
import torch

from ntkscope import activations
from ntkscope.activations import activation, custom

NAMES = (*activations.NAMES, "leaky_relu:alpha=0.3", "leaky_relu:alpha=-2", "softplus:beta=3")
GRID = torch.arange(-12000, 12001, dtype=torch.float64) / 1000

EXACT = {
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "softplus:beta=3": lambda z: mpmath.log(1 + mpmath.exp(3 * z)) / 3,
    "sin": mpmath.sin,
}


def autograd(f, z):
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(f(z).sum(), z)
    return slope


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree_with_autograd(name):
    phi = activation(name)
    # at a kink the convention is ours; elsewhere, 0 included, autograd must give the same
    z = GRID if phi.smooth or name in ("relu", "abs") else GRID[GRID != 0]
    assert (GRID == 0).any()
    torch.testing.assert_close(phi.derivative(z), autograd(phi.phi, z), rtol=1e-10, atol=1e-13)
    if phi.smooth and name != "identity":
        torch.testing.assert_close(
            phi.second(z), autograd(phi.derivative, z), rtol=1e-9, atol=1e-12
        )
    else:
        assert not phi.second(z).any()


@pytest.mark.parametrize("name", EXACT)
def test_relative_accuracy_in_the_tails(name):
    phi = activation(name)
    with mpmath.workdps(300):
        for z in (-20.0, -5.0, -0.3, 1e-8, 0.7, 6.0, 15.0):
            t = torch.tensor(z, dtype=torch.float64)
            value, slope = EXACT[name](mpmath.mpf(z)), mpmath.diff(EXACT[name], mpmath.mpf(z))
            # argument rounding is amplified by at most |z φ′/φ| ≲ z² in these tails
            assert abs(float(phi(t)) - value) <= 4e-16 * (4 + z * z) * abs(value)
            size = max(abs(slope), mpmath.mpf(10) ** -320)
            assert abs(float(phi.derivative(t)) - slope) <= 4e-16 * (4 + z * z) * max(
                size, abs(float(value)) if name in ("gelu", "silu", "sin") else 0
            )


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_the_suprema(name):
    phi = activation(name)
    assert phi.lipschitz is not None
    wide = torch.linspace(-40, 40, 80001, dtype=torch.float64)
    top = float(phi.derivative(wide).abs().max())
    assert top <= phi.lipschitz * (1 + 1e-12)
    assert top >= phi.lipschitz * (1 - 1e-6)
    if phi.kinks:
        assert phi.lipschitz_derivative == math.inf
    else:
        top = float(phi.second(GRID).abs().max())
        assert top <= phi.lipschitz_derivative * (1 + 1e-12)
        assert top >= phi.lipschitz_derivative * (1 - 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_homogeneity_is_true(name):
    phi = activation(name)
    doubled = torch.allclose(phi(2 * GRID), 2 * phi(GRID))
    assert doubled == (phi.homogeneity == 1)


def test_values_at_zero():
    assert activation("relu").derivative(torch.zeros(1)).item() == 0
    assert activation("abs").derivative(torch.zeros(1)).item() == 0
    assert activation("sigmoid").at_zero == 0.5
    assert activation("tanh").at_zero == 0.0


def test_a_callable_gets_its_derivatives_from_autograd():
    phi = activation(lambda z: z**3 + torch.sin(z))
    torch.testing.assert_close(phi.derivative(GRID), 3 * GRID**2 + torch.cos(GRID))
    torch.testing.assert_close(phi.second(GRID), 6 * GRID - torch.sin(GRID))
    constant = custom(lambda z: torch.ones_like(z), name="one")
    assert not constant.derivative(GRID).any()


@pytest.mark.parametrize(
    ("phi", "message"),
    [
        (lambda z: z.sum(), "same shape"),
        (lambda z: torch.log(z), "not finite"),
        (lambda z: 3.0 if z.ndim else 0.0, "same shape"),
    ],
)
def test_bad_callables_are_named(phi, message):
    with pytest.raises(ValueError, match=message):
        activation(phi)


def test_two_callables_are_equal_only_if_they_are_one():
    f, g = (lambda z: z), (lambda z: z)
    assert custom(f, name="a") == custom(f, name="a")
    assert custom(f, name="a") != custom(g, name="a")
    assert activation("softplus:beta=3") == activation("softplus:beta=3.0")
