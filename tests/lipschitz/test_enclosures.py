"""Rounding carried along entry by entry: fractions, on sums that lose as much as they may."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from flint import arb, arb_mat, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.lipschitz import at_point
from ntkscope.lipschitz.maps import feature_map
from ntkscope.lipschitz.rounding import Enclosed, gamma
from ntkscope.lipschitz.upper import upper_bounds
from oracles import textbook
from oracles.textbook import U, fractions


def one(x, e=0.0):
    return Enclosed(
        torch.tensor([[x]], dtype=torch.float64), torch.tensor([[e]], dtype=torch.float64)
    )


def around(made: Enclosed) -> tuple[Fraction, Fraction]:
    value, error = (
        Fraction(float(made.value.flatten()[0])),
        Fraction(float(made.error.flatten()[0])),
    )
    return value - error, value + error


def corners(a, e):
    return Fraction(a) - Fraction(e), Fraction(a) + Fraction(e)


REALS = st.floats(-8, 8).filter(lambda x: x == 0 or abs(x) > 1e-3)
BARS = st.integers(0, 2**20).map(lambda k: k / 2**21)


@settings(max_examples=150, deadline=None)
@given(a=REALS, b=REALS, e=BARS, f=BARS)
def test_entries_contain_every_corner_and_no_more_than_they_must(a, b, e, f):
    x, y = corners(a, e), corners(b, f)
    for made, exact in (
        (one(a, e).multiplied(one(b, f)), [p * q for p in x for q in y]),
        (one(a, e).plus(one(b, f)), [p + q for p in x for q in y]),
        (one(a, e).scaled(torch.tensor(b, dtype=torch.float64)), [p * Fraction(b) for p in x]),
    ):
        low, high = around(made)
        assert low <= min(exact)
        assert max(exact) <= high
        slack = 40 * U * (1 + abs(low) + abs(high))
        assert high <= max(exact) + slack or low >= min(exact) - slack


@pytest.mark.parametrize("n", [1, 2, 50])
def test_products_of_matrices_count_their_operations(n):
    """γ_n |x||V| + e|V|: a sum that swallows all but its first term is wrong by (n − 1)u."""
    x = torch.tensor([textbook.lost(n)], dtype=torch.float64)
    errors = torch.full_like(x, 2.0**-30)
    loop = textbook.dot(x[0].tolist(), x[0].tolist())
    true = sum(v * v for v in fractions(x[0]))
    made = Enclosed.exact(x).times(x.T)
    bound = Fraction(float(made.error))
    assert abs(Fraction(loop) - true) <= bound
    assert abs(Fraction(float(made.value)) - true) <= bound
    assert (
        textbook.gamma(n) * true * (1 - 4 * U)
        <= bound
        <= textbook.gamma(n) * true * (1 + 64 * n * U)
    )
    if n == 50:
        assert abs(Fraction(loop) - true) > Fraction(9, 10) * bound
    wide = Enclosed(x, errors).times(x.T)
    assert Fraction(float(wide.error)) >= Fraction(2.0**-30) * sum(fractions(x[0]))


def test_gamma_is_not_below_its_fraction():
    for n in (1, 3, 1000):
        assert textbook.gamma(n) * (1 - 4 * U) <= Fraction(gamma(n))


def test_the_spectral_norm_contains_that_of_every_matrix_within_the_bars():
    """Σ = [[3, 0], [0, 1]] ± E: ‖Σ + E‖ reaches 3 + ‖E‖_F for E = e·uvᵀ; and without bars the
    solver's own rounding, 8(m + n)u‖·‖_F, is left."""
    M = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    bars = torch.tensor([[[0.25, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    low, high = Enclosed(M, bars).norm()
    assert low <= 2.75
    assert high >= 3.25
    low, high = Enclosed.exact(M).norm()
    slack = 8 * 4 * 2.0**-53 * math.sqrt(10)
    assert 3 - low >= slack - 2.0**-50
    assert high - 3 >= slack - 2.0**-50


def ball_norm(model, z):
    """‖J(z)‖ of a ReLU network, its derivative decided in exact arithmetic: a ball of 200 bits."""
    ctx.prec = 200
    x, J = fractions(z), None
    weights = [w.detach().T.double() for w in model.weights]
    for index, W in enumerate(weights):
        rows = [fractions(r) for r in W]
        J = rows if J is None else [
            [sum((r[k] * J[k][j] for k in range(len(J))), Fraction(0)) for j in range(len(J[0]))]
            for r in rows
        ]  # fmt: skip
        x = [sum((a * b for a, b in zip(r, x, strict=True)), Fraction(0)) for r in rows]
        if index < len(weights) - 1:
            J = [row if v > 0 else [Fraction(0)] * len(row) for row, v in zip(J, x, strict=True)]
            x = [max(v, Fraction(0)) for v in x]
    balls = arb_mat([[arb(v.numerator) / v.denominator for v in row] for row in J])
    gram = (balls * balls.transpose()) if len(J) <= len(J[0]) else (balls.transpose() * balls)
    top = (
        max((e.real for e in gram.eig(algorithm="approx")), key=float)
        if gram.nrows() > 1
        else gram[0, 0]
    )
    ctx.prec = 53
    return float(abs(top)) ** 0.5


@pytest.mark.parametrize("seed", range(6))
def test_a_jacobian_s_norm_at_a_point_is_enclosed(seed):
    model = ntk.Network([3, 20, 20, 1], "relu", "he").sample(seed)
    z = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = at_point.jacobian_norm(feature_map(model, 3, 0), z)
    true = ball_norm(model, z)
    assert low < true < high
    assert high - low < 1e-11 * true
    # two hidden layers of 20: products of 3, 20 and 20 terms, and the norm's own rounding
    assert true - low >= 8 * 4 * 2.0**-53 * true
    entries = 2 * 20 * 2.0**-53
    assert high - low >= entries * true


def test_a_kink_within_rounding_is_left_open():
    """g = 1·z_1 − (1 + 2u)·z_2 is a rounding error at z = (1, 1 − 2u): which side it is on is open."""
    model = ntk.Network([2, 1, 1], "relu", "he").sample(0)
    with torch.no_grad():
        model.weights[0].copy_(torch.tensor([[1.0], [-1.0]]))
        model.weights[1].fill_(1.0)
    mapping = feature_map(model, 2, 0)
    near = torch.tensor([1.0 + 2.0**-52, 1.0], dtype=torch.float64)
    assert at_point.jacobian_norm(mapping, near) is None
    away = torch.tensor([1.0 + 2.0**-48, 1.0], dtype=torch.float64)
    assert at_point.jacobian_norm(mapping, away) is not None


def test_a_smooth_slope_carries_the_error_of_its_argument():
    mapping = feature_map(ntk.Network([2, 3, 1], "tanh", "he").sample(0), 2, 0)
    g = one(0.3, 1e-3)
    slope, features = at_point._slope(mapping, g), at_point._features(mapping, g)
    for made, at in ((slope, lambda t: 1 - math.tanh(t) ** 2), (features, math.tanh)):
        low, high = around(made)
        assert low <= min(at(0.299), at(0.301)) <= max(at(0.299), at(0.301)) <= high
    assert float(at_point._slope(mapping, one(0.3)).error) >= 2.0**-53


def test_upper_bounds_are_not_below_what_they_bound():
    """Orthogonal weights: every bound is attained, so a factor missing anywhere shows."""
    model = ntk.Network([2, 2, 2, 1], "relu", "he").sample(0)
    with torch.no_grad():
        model.weights[0].copy_(2 * torch.eye(2))
        model.weights[1].copy_(3 * torch.eye(2))
        model.weights[2].copy_(torch.tensor([[1.0], [0.0]]))
    for name, bound in upper_bounds(feature_map(model, 3, 0)).items():
        assert bound >= 6, name  # at z = (1, 1) both neurons are active
        assert bound <= 6 * (1 + 1e-6) or name != "product"
