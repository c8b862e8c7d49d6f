"""λ_max from above, and everything that a certificate may not pass: fractions decide."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope import Status
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.spectra.extremes import largest_eigenvalue, largest_of_trace
from ntkscope.spectra.proof.norms import norm_bounds, trace_bound
from ntkscope.spectra.storage.source import as_source
from oracles.inertia import at_most, count_below, exact
from spectra.matrices import KINDS, prescribed, random_matrix


def semidefinite(K, error=0.0):
    source = as_source(MatrixKernel(K, semidefinite=True))
    source.error = error
    return source


def test_each_norm_is_attained_by_some_matrix():
    ones = torch.ones(5, 5, dtype=torch.float64)
    for name in ("trace", "Frobenius", "Gershgorin"):
        bound = Fraction(norm_bounds(semidefinite(ones))[name])
        assert 5 <= bound <= 5 * (1 + Fraction(1, 2**40))
    # read error below: the covered matrix may be larger in each direction
    for name, least in (("trace", 6 * 2.0**-7), ("Frobenius", 2.0**-7), ("Gershgorin", 2.0**-7)):
        assert norm_bounds(semidefinite(ones, 2.0**-7))[name] >= 5 + least
    signed = torch.tensor([[1.0, -2.0], [-2.0, 1.0]], dtype=torch.float64)
    assert norm_bounds(as_source(signed))["Gershgorin"] >= 3
    assert norm_bounds(as_source(signed))["Frobenius"] >= math.sqrt(10)
    assert "trace" not in norm_bounds(as_source(signed))


def test_the_trace_leaves_no_room_for_a_larger_eigenvalue():
    """diag(3, 2, 2, 1): a Lanczos run that missed 3 found (2, 2); 8 − 4 is what it leaves."""
    assert trace_bound([], [], 8.0) >= 8
    assert 6 <= trace_bound([2.0], [0.0], 8.0) <= 6 + 1e-12
    assert 4 <= trace_bound([2.0, 2.0], [0.0, 0.0], 8.0) <= 4 + 1e-12
    assert 3 <= trace_bound([3.0, 2.0], [0.0, 0.0], 8.0) <= 3 + 1e-12
    # a residual r moves each of m eigenvalues by r: diag(θ − r, …) leaves m·r more
    assert trace_bound([2.0, 2.0], [0.1, 0.0], 8.0) >= 4 + 2 * 0.1
    assert trace_bound([3.0], [0.5], 3.5) >= 3.5


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), kind=st.sampled_from(KINDS))
@pytest.mark.parametrize("method", ["auto", "products"])
def test_no_interval_misses_the_largest(method, seed, n, kind):
    K = random_matrix(np.random.default_rng(seed), n, kind)
    found = largest_eigenvalue(K, method=method)
    truth = [[-x for x in row] for row in exact(K)]
    assert at_most(truth, -found.lower)
    above = count_below(truth, -found.upper)
    assert above is None or above == 0
    assert found.upper < math.inf


def test_the_method_says_what_bounds_it():
    K = prescribed(np.geomspace(1e-3, 1, 40))
    assert "Cholesky" in largest_eigenvalue(K).method
    by_products = largest_eigenvalue(K, method="products")
    assert "above: " in by_products.method
    assert by_products.status is Status.ESTIMATE
    assert largest_eigenvalue(K).upper <= by_products.upper
    extremes = ntk.extreme_eigenvalues(K, 1, method="products")
    assert extremes.largest[0].upper < math.inf


def test_products_and_a_trace_enclose_the_largest():
    values = np.geomspace(1e-6, 5, 200)
    K = MatrixKernel(prescribed(values), semidefinite=True)
    found = largest_of_trace(K, float(values.sum()) * (1 + 1e-12))
    assert found.status is Status.OK
    assert found.lower <= 5 <= found.upper <= 5 * (1 + 1e-3)
    flat = largest_of_trace(MatrixKernel(torch.eye(300, dtype=torch.float64)), 300.0)
    assert flat.upper >= 1  # no Ritz value stands out: the trace that is left
    assert flat.status is Status.NOT_CONVERGED
    flat = largest_of_trace(MatrixKernel(torch.eye(300, dtype=torch.float64)), 300.0, 1.5)
    assert 1 <= flat.upper <= 1.5
    assert "a bound that was given" in flat.method
    known = largest_of_trace(MatrixKernel(torch.eye(300, dtype=torch.float64)), 300.0, 1.0001)
    assert known.status is Status.OK
