"""Several eigenvalues at both ends, and condition numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope import Status
from oracles.inertia import count_below, exact
from spectra.matrices import prescribed

U = 2.0**-53


@pytest.mark.parametrize("n", [30, 330])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_both_ends_of_a_known_spectrum(n, k):
    values = np.geomspace(1e-4, 3, n)
    found = ntk.extreme_eigenvalues(prescribed(values), k)
    slack = 8 * n * U * 3
    for got, expected in zip(found.smallest, values[:k], strict=True):
        assert got.lower - slack <= expected <= got.upper + slack
        assert got.status is Status.OK
        assert got.upper - got.lower <= 1e-6 * expected
    for got, expected in zip(found.largest, values[::-1][:k], strict=True):
        assert got.lower - slack <= expected <= got.upper + slack
        assert got.upper - got.lower <= 1e-6 * expected
        assert got.vector is not None
    assert [e.value for e in found.smallest] == sorted(e.value for e in found.smallest)
    assert [e.value for e in found.largest] == sorted(
        (e.value for e in found.largest), reverse=True
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), k=st.integers(1, 3))
def test_no_interval_misses_its_eigenvalue(seed, n, k):
    rng = np.random.default_rng(seed)
    K = prescribed(rng.normal(size=n) * 10.0 ** rng.uniform(-12, 0, n), seed)
    k = min(k, n)
    found, truth = ntk.extreme_eigenvalues(K, k), exact(K)
    ends = [(i, e) for i, e in enumerate(found.smallest)]
    ends += [(n - 1 - i, e) for i, e in enumerate(found.largest)]
    for i, e in ends:
        low, high = count_below(truth, e.lower), count_below(truth, math.nextafter(e.upper, 1e300))
        assert low is None or low <= i
        assert high is None or high >= i + 1


def test_the_largest_of_a_kernel_by_products():
    model = ntk.Network([10, 40, 1], activation="tanh", init="lecun").sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n_samples=300, dim=10, seed=1))
    found = ntk.extreme_eigenvalues(K, 2, method="products")
    true = torch.linalg.eigvalsh(K.dense())
    assert found.largest[0].value == pytest.approx(float(true[-1]), rel=1e-6)
    assert found.largest[0].status is Status.ESTIMATE


@pytest.mark.parametrize("kappa", [1.0, 1e3, 1e9])
def test_condition_number(kappa):
    values = np.geomspace(1 / kappa, 1, 60) if kappa > 1 else np.ones(60)
    found = ntk.condition_number(prescribed(values))
    assert found.lower <= found.value <= found.upper
    assert found.value == pytest.approx(kappa, rel=1e3 * U * kappa)
    assert (found.upper - found.lower) / kappa <= max(1e-9, 1e4 * U * kappa)
    assert "ok" in str(found)


def test_condition_number_of_a_singular_matrix_is_unbounded():
    F = torch.randint(-3, 4, (40, 39), generator=torch.Generator().manual_seed(0)).double()
    found = ntk.condition_number(F @ F.T)
    assert found.upper == math.inf
    assert found.lower > 1e12
    assert found.status is Status.BELOW_NOISE


@pytest.mark.parametrize("k", [0, 6, True])
def test_bad_k(k):
    with pytest.raises(ValueError, match="from 1 to N = 5"):
        ntk.extreme_eigenvalues(torch.eye(5), k)
