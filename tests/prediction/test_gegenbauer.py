"""Gegenbauer expansions against whole numbers, Rodrigues' formula and mpmath."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.model import zonal
from oracles import gegenbauer as oracle

INF = float("inf")


@given(dim=st.integers(2, 100_000), degree=st.integers(0, 60))
@settings(deadline=None, max_examples=200)
def test_multiplicities_are_the_whole_numbers(dim, degree):
    exact = oracle.multiplicity(dim, degree)
    got = gegenbauer.log_multiplicities(dim, degree)
    want = float(mp.log(exact))
    assert len(got) == degree + 1
    # each step of the sum adds two logarithms and rounds a number of the size of ln D_r
    assert got[-1] == pytest.approx(want, abs=2 * (degree + 1) * (1 + want) * np.finfo(float).eps)


@pytest.mark.parametrize("dim", [2, 3, 4, 7, 50])
def test_polynomials_are_rodrigues(dim):
    x = np.array([-0.9, -0.3, 0.2, 0.77])
    got = gegenbauer.polynomials(dim, 6, x)
    for degree in range(7):
        with mp.workdps(40):
            want = [float(oracle.polynomial(dim, degree, mp.mpf(float(v)))) for v in x]
        np.testing.assert_allclose(got[degree], want, atol=1e-13)


@pytest.mark.parametrize("dim", [2, 3, 6, 60])
def test_relu_coefficients(dim):
    net = ntk.Network([dim, INF, INF, 1], "relu", "unit")
    found = gegenbauer.expand(zonal(net, 1.0), dim, 1000)
    for degree in (0, 1, 2, 3, 6):
        want = oracle.coefficient(lambda t: oracle.relu_kernel(t, 3), dim, degree)
        assert found.coefficients[degree] == pytest.approx(want, abs=found.noise[degree])
    assert found.total == pytest.approx(3.0, rel=1e-15)


@given(dim=st.integers(2, 400), power=st.integers(0, 8))
@settings(deadline=None, max_examples=60)
def test_a_power_of_rho_has_no_degree_above_it(dim, power):
    found = gegenbauer.expand(lambda t: np.cos(t) ** power, dim, 1000)
    c = found.coefficients
    assert np.all(np.abs(c[power + 1 :]) <= found.noise[power + 1 :])
    assert np.all(c[: power + 1] >= -found.noise[: power + 1])  # ρ^k is positive definite
    odd = np.arange(len(c)) % 2 != power % 2
    assert np.all(np.abs(c[odd]) <= found.noise[odd])
    if power < len(c):
        assert abs(found.tail) <= found.error


@pytest.mark.parametrize("dim", [2, 5, 100, 100_000])
@pytest.mark.parametrize("n_samples", [10, 10**4, 10**9])
def test_tail_keeps_its_digits(dim, n_samples):
    net = ntk.Network([dim, INF, INF, 1], "relu", "unit")
    found = gegenbauer.expand(zonal(net, 1.0), dim, n_samples)
    assert found.tail > 0
    assert found.error < 1e-4 * found.tail
    assert np.all(np.isfinite(found.log_multiplicities))
    assert np.all(found.coefficients >= -found.noise)


def test_the_line_is_refused():
    with pytest.raises(ValueError, match="two points"):
        gegenbauer.expand(np.cos, 1, 10)
