"""Dual activations against quadrature in more digits, and against each other."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.activations.registry import activation as resolve_activation
from ntkscope.kernels.limiting.series import Expansion
from oracles.limiting import longdouble_dual, relu_dual, trapezoid_dual

U = 2.0**-53

# φ and φ′ in mpmath
EXACT = {
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "erf": (mp.erf, lambda z: 2 / mp.sqrt(mp.pi) * mp.exp(-z * z)),
    "sin": (mp.sin, mp.cos),
    "gelu": (lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z)),
    "sigmoid": (lambda z: 1 / (1 + mp.exp(-z)), lambda z: 1 / (2 + mp.exp(z) + mp.exp(-z))),
}


@pytest.mark.parametrize("name", sorted(EXACT))
def test_against_forty_digits(name):
    a, b, rho = 0.3, 0.45, -0.625
    found = ntk.dual_activation(name, a, b, rho=rho)
    with mp.workdps(40):
        for f, value in zip(EXACT[name], found, strict=True):
            # poles at π/2 over the standard deviation: e^{−2π·2.3/0.25} is 1e-25
            exact = trapezoid_dual(f, a, b, rho, 0.25)
            scale = mp.sqrt(trapezoid_dual(f, a, a, 0, 0.25) ** 2) + abs(exact)
            assert abs(mp.mpf(float(value)) - exact) <= 1e-14 * max(scale, mp.mpf("0.1"))


def _np_sigmoid(z):
    return 1 / (1 + np.exp(-z))


SMOOTH = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (_np_sigmoid, lambda z: _np_sigmoid(z) * _np_sigmoid(-z)),
    "silu": (
        lambda z: z * _np_sigmoid(z),
        lambda z: _np_sigmoid(z) * (1 + z * _np_sigmoid(-z)),
    ),
    "softplus": (lambda z: np.logaddexp(0, z), _np_sigmoid),
    "sin": (np.sin, np.cos),
}


@pytest.mark.parametrize("name", sorted(SMOOTH))
@pytest.mark.parametrize(("a", "b"), [(0.05, 0.05), (0.05, 20.0), (1.0, 1.7), (20.0, 20.0)])
def test_smooth_activations_to_1e_13(name, a, b):
    deltas = [0.75, 1.6, 0.05, 1e-3, 1e-12, 2.0]
    found = ntk.dual_activation(name, a, b, one_minus_rho=deltas)
    for f, value in zip(SMOOTH[name], found, strict=True):
        scale = math.sqrt(longdouble_dual(f, a, a, 1.0, 0.0) * longdouble_dual(f, b, b, 1.0, 0.0))
        for delta, got in zip(deltas, value.tolist(), strict=True):
            exact = longdouble_dual(f, a, b, 1.0 - delta, delta)
            assert abs(got - exact) <= 1e-13 * scale


@pytest.mark.parametrize("name", ["erf", "sin", "gelu"])
@settings(max_examples=15, deadline=None)
@given(a=st.floats(0.05, 20.0), b=st.floats(0.05, 20.0), rho=st.floats(-0.95, 0.95))
def test_closed_forms_are_the_series(name, a, b, rho):
    closed = ntk.dual_activation(name, a, b, rho=rho, method="closed")
    series = ntk.dual_activation(name, a, b, rho=rho, method="series")
    own = [ntk.dual_activation(name, v, v, rho=1.0) for v in (a, b)]
    for k in range(2):
        scale = math.sqrt(float(own[0][k]) * float(own[1][k]))
        assert abs(float(closed[k] - series[k])) <= 5e-14 * scale


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["relu", "leaky_relu:alpha=0.3", "leaky_relu:alpha=-0.9", "abs", "identity"]),
    a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3),
    delta=st.one_of(st.floats(1e-30, 2.0), st.floats(1e-30, 1e-6)),
)  # fmt: skip
def test_the_relu_family_from_one_minus_rho(name, a, b, delta):
    phi = ntk.activations.activation(name)
    plus, minus = (float(phi(torch.tensor(s, dtype=torch.float64))) for s in (1.0, -1.0))
    p, q = (plus - minus) / 2, (plus + minus) / 2
    found = ntk.dual_activation(name, a, b, one_minus_rho=delta)
    with mp.workdps(60):
        root = mp.sqrt(mp.mpf(a) * b)
        c = root * (1 - mp.mpf(delta))
        value, slope = relu_dual(mp.mpf(a), mp.mpf(b), c)
        # |z| = 2 relu(z) − z, and E[relu(u) v] = C/2
        modulus, sign = 4 * value - c, 4 * slope - 1
        exact = (p * p * c + q * q * modulus, p * p + q * q * sign)
        scales = ((p * p + q * q) * root, p * p + q * q)
        for got, want, scale in zip(found, exact, scales, strict=True):
            assert abs(mp.mpf(float(got)) - want) <= 30 * U * scale


def test_shapes_broadcast_and_variance_zero():
    found = ntk.dual_activation("tanh", torch.ones(4, 1), torch.ones(3), rho=0.25)
    assert found.value.shape == (4, 3)
    assert float(ntk.dual_activation("sigmoid", 0.0, 2.0, rho=0.0).value) == pytest.approx(0.25)
    assert float(ntk.dual_activation("relu", 0.0, 2.0, covariance=0.0).value) == 0.0
    assert float(ntk.dual_activation("abs", 0.0, 0.0, covariance=0.0).derivative) == 0.0


def test_bad_input():
    with pytest.raises(ValueError, match="exceeds"):
        ntk.dual_activation("tanh", 1.0, 1.0, covariance=1.5)
    with pytest.raises(ValueError, match="within"):
        ntk.dual_activation("tanh", 1.0, 1.0, rho=-1.5)
    with pytest.raises(ValueError, match="one of"):
        ntk.dual_activation("tanh", 1.0, 1.0, rho=0.5, covariance=0.1)
    with pytest.raises(ValueError, match="at least 0"):
        ntk.dual_activation("tanh", -1.0, 1.0, rho=0.5)
    with pytest.raises(ValueError, match="no closed form"):
        ntk.dual_activation("tanh", 1.0, 1.0, rho=0.5, method="closed")
    with pytest.raises(ValueError, match="accuracy must be"):
        ntk.dual_activation("tanh", 1.0, 1.0, rho=0.5, accuracy=1e-20)
    hard = ntk.activations.custom(lambda z: z.clamp(-1, 1), kinks=(-1.0, 1.0))
    with pytest.raises(ValueError, match="cannot reach"):
        ntk.dual_activation(hard, 1.0, 1.0, rho=0.99999)
    wrong = ntk.activations.custom(lambda z: z if z.numel() < 20 else z[:3])
    with pytest.raises(ValueError, match="keep the shape"):
        ntk.dual_activation(wrong, 1.0, 1.0, rho=0.5)
    spoiled = ntk.activations.custom(
        lambda z: torch.where(z.abs() > 4, torch.full_like(z, math.nan), z)
    )
    with pytest.raises(ValueError, match="not finite"):
        ntk.dual_activation(spoiled, 1.0, 1.0, rho=0.5)


def test_a_series_does_not_remember_what_it_was_asked():
    phi = resolve_activation("tanh")
    variances = torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    everything = slice(0, 6)

    def low(expansion):
        rho = torch.full((6, 6), 0.3, dtype=torch.float64)
        return expansion.tile(rho, everything, everything)

    fresh, used = (Expansion(phi, variances, False, 1e-14) for _ in range(2))
    first = torch.arange(6)
    used.pairs(torch.full((6,), 0.995, dtype=torch.float64), first, first.flip(0))
    assert torch.equal(low(used), low(fresh))
    assert used.error() == fresh.error()
