"""What each family states of its members: in NumPy as in torch, and closed forms as by quadrature."""

import math

import numpy as np
import pytest
import torch

from ntkscope import activations
from ntkscope.activations import activation, custom, register_activation
from ntkscope.activations.hermite import Quadrature, hermite_coefficients

NAMES = (*activations.NAMES, "leaky_relu:alpha=0.3", "leaky_relu:alpha=-2", "softplus:beta=3")
U = 2.0**-53
Z = np.concatenate([np.linspace(-30.0, 30.0, 4001), [0.0, -0.0, 1e-300, -1e-8]])


@pytest.mark.parametrize("name", NAMES)
def test_numpy_and_torch_agree_to_rounding(name):
    phi = activation(name)
    for f in (phi.phi, phi.derivative, phi.second):
        ours, theirs = f(Z), f(torch.from_numpy(Z)).numpy()
        assert isinstance(ours, np.ndarray)
        assert ours.dtype == np.float64
        # exp, erf and the logistic function are good to 4 u in either; e^{-z²} amplifies by z², and
        # where the derivatives of GELU and SiLU change sign φ has the size of what cancels
        size = np.abs(theirs) + (np.abs(phi(Z)) if name in ("gelu", "silu") else 0.0)
        assert np.all(np.abs(ours - theirs) <= 4 * U * (4 + Z * Z) * size + 1e-320)


@pytest.mark.parametrize("name", [n for n in NAMES if activation(n).dual is not None])
def test_duals_agree_to_rounding_and_with_the_series(name):
    phi = activation(name)
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.1, 3.0, (2, 200))
    delta = np.concatenate([rng.uniform(0.0, 2.0, 196), [0.0, 1e-12, 2.0, 2.0 - 1e-12]])
    kept = delta.copy()
    ours = phi.dual(a, b, delta)
    assert np.array_equal(delta, kept)
    theirs = phi.dual(*(torch.from_numpy(x) for x in (a, b, delta)))
    for x, y in zip(ours, theirs, strict=True):
        assert np.allclose(x, y.numpy(), rtol=0, atol=64 * U * np.abs(x).max())
    order, rho = 600, (1.0 - delta)[:190]
    left, right = (hermite_coefficients(phi, order, v[:190]).values for v in (a, b))
    series = np.sum(left * right * rho[:, None] ** np.arange(order + 1), axis=1)
    near = np.abs(rho) < 0.95  # 0.95^600 is 4e-14
    assert np.allclose(ours[0][:190][near], series[near], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_slope_range_is_attained_and_holds(name):
    low, high = activation(name).slope_range
    slopes = activation(name).derivative(np.linspace(-40, 40, 400_001))
    slack = 1e-12 * max(abs(low), abs(high), 1.0)
    assert low - slack <= slopes.min() <= low + 1e-4
    assert high - 1e-4 <= slopes.max() <= high + slack


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_fused_steps_are_the_function_and_its_derivative(name):
    phi = activation(name)
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    signal = torch.linspace(1, 2, 101, dtype=torch.float64)
    feature = phi.fused.forward(z.clone())
    torch.testing.assert_close(feature, phi(z), rtol=4 * U, atol=0)
    made = phi.fused.backward(signal.clone(), feature)
    torch.testing.assert_close(made, signal * phi.derivative(z), rtol=0, atol=1e-15)


def test_a_custom_homogeneous_function_has_the_closed_forms():
    mine = custom(
        lambda z: torch.where(z > 0, z, 0.3 * z), name="mine", kinks=(0.0,), homogeneity=1
    )
    theirs = activation("leaky_relu:alpha=0.3")
    assert mine.homogeneous_parts == theirs.homogeneous_parts
    a, delta = np.array([0.5, 2.0]), np.array([0.1, 1.5])
    for x, y in zip(mine.dual(a, a, delta), theirs.dual(a, a, delta), strict=True):
        assert np.array_equal(x, y)
    assert mine.slope_range == theirs.slope_range
    found = Quadrature(mine).coefficients(a, 12)
    assert np.allclose(found.values, hermite_coefficients(mine, 12, a).values, atol=1e-13)


def test_registering_makes_a_name_of_it():
    def cubic(scale: float = 1.0):
        return custom(lambda z: scale * z**3, name="whatever")

    register_activation("cubic_of_a_test", cubic)
    register_activation("cubic_of_a_test", cubic)  # the same once more: a plugin imported twice
    assert "cubic_of_a_test" in activations.NAMES
    phi = activation("cubic_of_a_test:scale=2")
    assert phi.name == "cubic_of_a_test:scale=2"
    assert float(phi(torch.tensor(3.0))) == 54.0
    assert phi == activation("cubic_of_a_test:scale=2")
    assert not phi.custom  # a file may name it
    assert math.isclose(float(hermite_coefficients(phi, 3, np.ones(1)).values[0, 3]), 2 * 6**0.5)
    with pytest.raises(ValueError, match="did you mean 'scale'"):
        activation("cubic_of_a_test:scal=2")
    with pytest.raises(ValueError, match="'cubic_of_a_test' is registered already"):
        register_activation("cubic_of_a_test", lambda: cubic())
    with pytest.raises(ValueError, match="'relu' is registered already"):
        register_activation("relu", cubic)
    for name in ("a:b", "a,b", "", "a b", "a=1"):
        with pytest.raises(ValueError, match="one word without options"):
            register_activation(name, cubic)


def test_repr_is_short():
    assert repr(activation("relu")) == "Activation('relu')"
