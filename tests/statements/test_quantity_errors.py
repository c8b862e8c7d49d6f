"""The error of a sum, product, quotient or root against every corner of its parts, in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkscope import Eigenvalue, Status
from ntkscope.statements.quantity import (
    Quantity,
    largest,
    quantity,
    rounded,
    sample_mean,
    smallest,
)
from oracles.textbook import U

GRID = st.integers(-(2**30), 2**30).map(lambda k: k / 2**24 + k / 2**50)
BARS = st.integers(0, 2**20).map(lambda k: k / 2**20)


def ends(q: Quantity) -> tuple[Fraction, Fraction]:
    return (Fraction(q.value) - Fraction(q.error), Fraction(q.value) + Fraction(q.error))


@settings(max_examples=300, deadline=None)
@given(a=GRID, e=BARS, b=GRID, f=BARS)
def test_every_corner_is_inside_and_the_farthest_is_met(a, e, b, f):
    x, y = ends(Quantity(a, e)), ends(Quantity(b, f))
    cases = [
        (Quantity(a, e) + Quantity(b, f), [p + q for p in x for q in y]),
        (Quantity(a, e) - Quantity(b, f), [p - q for p in x for q in y]),
        (Quantity(a, e) * Quantity(b, f), [p * q for p in x for q in y]),
        (Quantity(a, e) ** 2, [p * q for p in x for q in x]),
    ]
    if abs(b) > f:
        cases.append((Quantity(a, e) / Quantity(b, f), [p / q for p in x for q in y]))
    for made, exact in cases:
        low, high = ends(made)
        assert low <= min(exact)
        assert max(exact) <= high
        error = Fraction(made.error)
        farthest = max(abs(c - Fraction(made.value)) for c in exact)
        assert error <= farthest * (1 + Fraction(1, 2**40)) + 8 * U * (
            1 + abs(Fraction(made.value))
        )
    if a > 0:
        root = (Quantity(a, e)).sqrt()
        for end in x:
            other = math.isqrt(int(max(end, Fraction(0)) * 2**200)) * Fraction(1, 2**100)
            assert abs(other - Fraction(root.value)) <= Fraction(root.error) + Fraction(1, 2**90)


def test_a_divisor_that_may_be_zero_leaves_nothing():
    assert math.isinf((Quantity(1.0) / Quantity(0.5, 0.5)).error)
    assert (Quantity(1.0) / Quantity(0.5, 0.25)).error >= 2.0
    assert (Quantity(0.0, 1.0) / Quantity(1.0, 0.5)).error >= 2.0


def test_the_root_of_zero_is_as_wrong_as_the_root_of_its_error():
    assert Quantity(0.0, 0.25).sqrt().error >= 0.5
    assert Quantity(-0.1, 0.25).sqrt().value == 0


def test_extremes_have_the_largest_error():
    """The item that is second may be the least: 1 ± ½ beside 0.9 ± 0 may be ½."""
    items = [Quantity(1.0, 0.5), Quantity(0.9)]
    assert smallest(items).value - smallest(items).error <= 0.5
    items = [Quantity(1.0, 0.5), Quantity(1.1)]
    assert largest(items).value + largest(items).error >= 1.5


def test_spreads_add_and_scale():
    a, b = Quantity(3.0, 0.0, 0.1), Quantity(2.0, 0.0, 0.2)
    assert (a + b).spread == pytest.approx(0.3)
    assert (a * b).spread == pytest.approx(3 * 0.2 + 2 * 0.1)
    assert (a / b).spread == pytest.approx((0.1 + 1.5 * 0.2) / 2)
    assert a.sqrt().spread == pytest.approx(0.1 / (2 * math.sqrt(3)))
    v = torch.tensor([1.0, 2.0, 4.0])
    assert sample_mean(v).spread == pytest.approx(float(v.std()) / math.sqrt(3))
    assert sample_mean(v[:1]).spread == math.inf


def test_an_eigenvalue_brings_its_interval_and_a_computed_number_its_length():
    found = Eigenvalue(1.0, 0.5, 1.25, Status.OK, "", "", 0.0)
    assert quantity(found).error == 0.5
    assert rounded(2.0, 10).error == 20 * 2.0**-53
    assert rounded(0.0, 10, 3.0).error == 30 * 2.0**-53
