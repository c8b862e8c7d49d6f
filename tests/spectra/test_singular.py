"""σ_min of feature matrices: known, enclosed, and never outside what exact arithmetic says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope import Status
from ntkscope.spectra.singular import tall_qr
from oracles.inertia import at_least, at_most, exact, rational

U = 2.0**-53


def with_singular_values(m: int, values, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    n = len(values)
    left = np.linalg.qr(rng.normal(size=(m, n)))[0]
    right = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return torch.from_numpy((left * values) @ right.T)


@pytest.mark.parametrize("exponent", [0, 3, 6, 9, 12])
@pytest.mark.parametrize(("m", "n"), [(300, 40), (9000, 20), (400, 280)])
def test_prescribed_condition_numbers(m, n, exponent):
    values = np.geomspace(10.0**-exponent, 1, n)
    found = ntk.smallest_singular_value(with_singular_values(m, values))
    assert abs(found.value - values[0]) <= 8 * n * U
    assert found.lower <= found.value <= found.upper
    assert found.status is Status.OK
    assert found.method.startswith("QR" if exponent > 5 else "Cholesky" if exponent < 3 else "")
    assert (found.value - found.lower) / found.value <= max(1e-8, 1e3 * n * U * 10.0**exponent)


def test_wide_is_the_transpose():
    F = with_singular_values(60, np.geomspace(1e-4, 1, 25))
    tall, wide = ntk.smallest_singular_value(F), ntk.smallest_singular_value(F.T)
    assert (tall.value, tall.lower, tall.upper) == (wide.value, wide.lower, wide.upper)
    assert tall.vector.shape == (25,)
    assert float((F @ tall.vector).norm()) == pytest.approx(tall.value, rel=1e-10)


def test_rank_deficient_is_a_status():
    F = torch.ones(30, 4, dtype=torch.float64)
    found = ntk.smallest_singular_value(F)
    assert found.status is Status.BELOW_NOISE
    assert found.lower == 0
    assert found.upper <= 1e-13
    assert ntk.smallest_singular_value(torch.zeros(5, 3)).status is Status.BELOW_NOISE


def test_blocks_of_rows_give_the_same_triangle():
    F = with_singular_values(20000, np.geomspace(1e-6, 1, 12))
    blocked, whole = tall_qr(F), torch.linalg.qr(F, mode="r")[1]
    assert torch.allclose(blocked.abs(), whole.abs(), rtol=0, atol=100 * U)


def test_float32_reads_the_stored_numbers():
    F = with_singular_values(40, np.geomspace(1e-9, 1, 8)).float()
    found = ntk.smallest_singular_value(F)
    assert found.status is Status.BELOW_NOISE
    assert ntk.smallest_singular_value(F * 0 + torch.eye(40, 8)).status is Status.OK


def test_without_a_certificate():
    found = ntk.smallest_singular_value(with_singular_values(40, [1, 2, 3.0]), certify=False)
    assert found.status is Status.ESTIMATE
    assert found.lower == 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 9),
    n=st.integers(1, 6),
    exponent=st.floats(0, 16),
    binary=st.integers(-30, 30),
)
def test_no_bound_is_violated(seed, m, n, exponent, binary):
    rng = np.random.default_rng(seed)
    m, n = max(m, n), min(m, n)
    F = with_singular_values(m, 10.0 ** (-exponent * rng.random(n)), seed) * 2.0**binary
    found = ntk.smallest_singular_value(F)
    columns = exact(F.T)
    gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in columns] for x in columns]
    assert at_least(gram, rational(found.lower) ** 2)
    assert at_most(gram, rational(found.upper) ** 2)


class TestBadInput:
    def test_vector(self):
        with pytest.raises(ValueError, match="two axes"):
            ntk.smallest_singular_value(torch.ones(3))

    def test_nan(self):
        with pytest.raises(ValueError, match=r"\(1, 1\)"):
            ntk.smallest_singular_value([[1.0, 2.0], [3.0, math.nan]])

    def test_scale(self):
        with pytest.raises(ValueError, match="power of two"):
            ntk.smallest_singular_value(torch.eye(3, dtype=torch.float64) * 1e200)
