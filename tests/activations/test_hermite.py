"""Hermite polynomials and coefficients: closed forms, quadrature, mpmath."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_hermitenorm

import ntkscope as ntk
from ntkscope.activations.expectation import gaussian_expectation, second_moment
from ntkscope.activations.hermite import Quadrature, summary
from ntkscope.activations.polynomials import hermite_functions, hermite_polynomials

U = 2.0**-53


def test_polynomials_are_scipys_and_orthogonal():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    table = hermite_polynomials(8, x)
    for r in range(9):
        expected = eval_hermitenorm(r, x.numpy()) / math.sqrt(math.factorial(r))
        assert torch.allclose(table[r], torch.from_numpy(expected), rtol=1e-13, atol=1e-13)
    a = 0.6
    wide = hermite_polynomials(4, math.sqrt(a) * x, a)
    # H_r^{[a]}(x) = a^{−r/2} h_r(x/√a)
    for r in range(5):
        assert torch.allclose(wide[r], a ** (-r / 2) * table[r], rtol=1e-13, atol=1e-13)
    squares = gaussian_expectation(lambda z: hermite_polynomials(3, z, a)[3] ** 2, a)
    assert squares.value == pytest.approx(a**-3, rel=1e-12)


def test_functions_stay_bounded_at_high_order():
    table = hermite_functions(3000, np.linspace(-30, 30, 301))
    assert bool(np.isfinite(table).all())
    assert float(np.abs(table).max()) <= 1.0 + 1e-12


def clamped(shift):
    return ntk.activations.custom(
        lambda z: (z - shift).clip(-1, 1), name="clamp", kinks=(shift - 1.0, shift + 1.0)
    )


def exp(z):
    return z.exp() if isinstance(z, torch.Tensor) else np.exp(z)


ODD = {
    "tanh": "tanh",
    "bump": lambda z: z * z * z * exp(-z * z),
    "clamp": clamped(0.0),
    "tanh-by-exponentials": lambda z: 1 - 2 / (exp(2 * z) + 1),  # odd to u of 1, not of itself
}
EVEN = {
    "bell": lambda z: exp(-z * z),
    "hat": ntk.activations.custom(
        lambda z: (1 - abs(z)).clip(0), name="hat", kinks=(-1.0, 0.0, 1.0)
    ),
}


@pytest.mark.parametrize("name", [*ODD, *EVEN])
def test_what_parity_makes_zero_is_zero(name):
    phi = ntk.activations.activation({**ODD, **EVEN}[name])
    a = np.array([0.3, 1.7])
    for derivative in (False, True):
        found = Quadrature(phi, derivative).coefficients(a, 9).values
        start = int(name in EVEN) ^ derivative
        assert (found[:, start::2] == 0.0).all()
        assert (found[:, 1 - start :: 2] != 0.0).all()


@pytest.mark.parametrize("phi", ["silu", clamped(1e-13)], ids=str)
def test_what_is_only_nearly_odd_keeps_every_coefficient(phi):
    phi = ntk.activations.activation(phi)
    found = Quadrature(phi).coefficients(np.array([0.3, 1.7]), 2)
    assert (found.values[:, ::2] != 0.0).all()
    if phi.name == "clamp":  # E φ to first order in the shift
        mean = -1e-13 * np.array([math.erf(1 / math.sqrt(2 * a)) for a in (0.3, 1.7)])
        np.testing.assert_allclose(found.values[:, 0], mean, rtol=0, atol=found.error)


def test_relu_is_equation_8_of_nguyen():
    found = ntk.hermite_coefficients("relu", 12).values[0]
    assert float(found[0]) == pytest.approx(1 / math.sqrt(2 * math.pi), rel=4 * U)
    assert float(found[1]) == 0.5
    for r in range(2, 13):
        if r % 2:
            assert float(found[r]) == 0.0
            continue
        double = math.prod(range(r - 3, 0, -2))
        expected = (-1) ** ((r - 2) // 2) * double / math.sqrt(math.factorial(r))
        assert float(found[r]) == pytest.approx(expected / math.sqrt(2 * math.pi), rel=2 * r * U)


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize("name", ["relu", "leaky_relu:alpha=0.3", "abs", "identity", "erf", "sin"])
def test_closed_forms_are_the_quadrature(name, derivative):
    a = torch.tensor([0.05, 1.0, 20.0], dtype=torch.float64)
    closed = ntk.hermite_coefficients(name, 40, a, derivative=derivative)
    numeric = Quadrature(ntk.activations.activation(name), derivative).coefficients(a, 40)
    bar = numeric.error + closed.error
    assert float((closed.values - numeric.values).abs().max()) <= bar
    assert torch.allclose(closed.second_moment, numeric.second_moment, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("name", "f"), [("tanh", mp.tanh), ("silu", lambda z: z / (1 + mp.exp(-z)))]
)
@pytest.mark.parametrize("a", [0.05, 1.3, 20.0])
def test_coefficients_against_mpmath(name, f, a):
    found = ntk.hermite_coefficients(name, 9, a)
    with mp.workdps(40):
        for r in (0, 1, 2, 5, 8):
            exact = mp.quad(
                lambda z, r=r: (
                    f(mp.sqrt(mp.mpf(a)) * z) * mp.hermite(r, z / mp.sqrt(2)) * mp.npdf(z)
                ),
                [-15, -6, -2, -0.5, 0, 0.5, 2, 6, 15],
            ) / mp.sqrt(mp.mpf(2) ** r * mp.factorial(r))
            assert abs(mp.mpf(float(found.values[0, r])) - exact) <= found.error


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["tanh", "gelu", "sigmoid", "softplus:beta=2"]), st.floats(0.01, 30.0))
def test_parseval_series_and_derivative(name, a):
    table = ntk.hermite_coefficients(name, 150, a)
    moment = float(table.second_moment[0])
    assert moment == pytest.approx(second_moment(ntk.activations.activation(name), a), rel=1e-12)
    assert float((table.values**2).sum()) <= moment * (1 + 1e-13)
    # α_r(φ′) = √(r+1) α_{r+1}(φ)/√a
    slope = ntk.hermite_coefficients(name, 20, a, derivative=True).values[0]
    shifted = table.values[0, 1:22] * torch.sqrt(torch.arange(1.0, 22.0).double()) / math.sqrt(a)
    noise = (5 * table.error / math.sqrt(a)) + 1e-14
    assert float((slope - shifted).abs().max()) <= noise * 5


def test_partial_sums_approach_the_function():
    table = ntk.hermite_coefficients("tanh", 200, 0.7)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors = [float((table.series(x, r) - torch.tanh(x)).abs().max()) for r in (5, 20, 80, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-10
    # the printed form needs a^r: Σ μ_r a^r H_r, since E (H_r^{[a]})² = a^{−r}
    H = hermite_polynomials(200, x, 0.7)
    powers = 0.7 ** torch.arange(201.0).double()
    assert torch.allclose((table.generalised[0] * powers) @ H, table.series(x), atol=1e-11)


def test_summary_has_c_and_nu():
    record = summary("relu", 4, 2.0)
    assert record["second_moment"] == 1.0
    assert record["nu0_sq"] == 2.0
    assert len(record["partial_sums"]["x"]) == len(record["partial_sums"]["phi"])


def test_bad_input():
    with pytest.raises(ValueError, match="order"):
        ntk.hermite_coefficients("tanh", -1)
    with pytest.raises(ValueError, match="at least 0"):
        ntk.hermite_coefficients("tanh", 3, -0.5)
    with pytest.raises(ValueError, match="E φ² is not finite"):
        ntk.hermite_coefficients(lambda z: torch.exp(z * z / 3), 3)
    with pytest.raises(ValueError, match="positive variances"):
        _ = ntk.hermite_coefficients("tanh", 3, 0.0).generalised
    with pytest.raises(ValueError, match="did you mean"):
        ntk.hermite_coefficients("tahn", 3)
