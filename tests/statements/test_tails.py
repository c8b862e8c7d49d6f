"""Probabilities with explicit constants against the formulas that they stand for, by other means."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from ntkscope.activations import activation
from ntkscope.data import Cube, Gaussian, Sphere
from ntkscope.statements.shared import chernoff, tails


@pytest.mark.parametrize("n", [50, 300, 2000])
def test_a_relu_layer_is_bounded_by_chernoff_on_both_sides(n):
    """min over t of (½ + ½(1 − 2t)^{−1/2})ⁿ e^{−3nt/4}, and of its mirror at n/4, or 20/n."""

    def rate(share, sign):
        def exponent(t):
            return -(sign * share * t - math.log(0.5 + 0.5 / math.sqrt(1 - 2 * sign * t)))

        return -minimize_scalar(exponent, bounds=(1e-6, 0.499 if sign > 0 else 3.0),
                                method="bounded").fun  # fmt: skip

    expected = math.exp(-n * rate(0.75, 1)) + math.exp(-n * rate(0.25, -1))
    # on a grid of t the rates are at most 1% below the best
    assert tails.relu_layer(n) >= min(20 / n, expected)
    assert tails.relu_layer(n) <= min(20 / n, math.exp(0.01 * n * rate(0.75, 1)) * expected)


def test_a_tail_of_each_law():
    assert tails.lipschitz(Gaussian(3), 2.0, 1.5) == pytest.approx(math.exp(-4 / (2 * 2.25)))
    C = Sphere(5).poincare
    assert tails.lipschitz(Sphere(5), 2.0, 1.5) == pytest.approx(math.exp(-4 / (2 * C * 2.25)))
    C = Cube(5).poincare
    # Cantelli's one-sided bound
    assert tails.lipschitz(Cube(5), 2.0, 1.5) == pytest.approx(C * 2.25 / (C * 2.25 + 4))
    assert tails.lipschitz(Gaussian(3), 0.0, 1.0) == 1.0


def test_the_norm_of_an_input_leaves_half_of_its_mean_on_either_side():
    d = 40
    below = math.exp(-((math.sqrt(d - 1) - math.sqrt(d / 2)) ** 2) / 2)
    above = math.exp(-((math.sqrt(1.5 * d) - math.sqrt(d)) ** 2) / 2)
    assert tails.input_norm(Gaussian(d)) == pytest.approx(below + above, rel=1e-12)
    assert tails.input_norm(Sphere(d)) == 0.0


def test_a_map_behind_a_narrow_layer_counts_its_cells():
    """h: R² → R⁷ → R⁵: ‖h‖ ≤ ‖W_1‖-bound · β(√2 + √5 + √(2 log R + s²)), R the cells of 7 lines."""
    bound, fails = tails.lipschitz_map((2, 7, 5), (0.5, 2.0))
    first = (0.5 * (math.sqrt(2) + 2 * math.sqrt(7))) ** 2
    cells = math.log(2 * 7)
    second = (2.0 * (math.sqrt(2) + math.sqrt(5) + math.sqrt(2 * cells + 5))) ** 2
    assert bound == pytest.approx(first * second, rel=1e-12)
    assert fails == pytest.approx(math.exp(-7 / 2) + math.exp(-5 / 2), rel=1e-12)


def tail(name, F, beta=0.7, lam=0.3):
    return chernoff.Tail(F, beta, lam, activation(name))


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
def test_what_is_truncated_is_the_integral_of_the_tail(name):
    """E‖a‖² 1{‖a‖ > t} = t² P(‖a‖ > t) + ∫_t^∞ 2u P(‖a‖ > u) du, with P(‖a‖ > m + s) bounded."""
    F = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made, phi = tail(name, F), activation(name)
    operator, frobenius = float(torch.linalg.matrix_norm(F, 2)), float(F.norm())
    a = phi.lipschitz * 0.7 * operator
    mean = math.sqrt(5) * abs(phi.at_zero) + phi.lipschitz * 0.7 * frobenius
    if name == "relu":
        mean = 0.7 * frobenius / math.sqrt(2)  # E relu(g)² = ½
    assert (made.width, made.mean) == (pytest.approx(a), pytest.approx(mean))

    def beyond(u):
        return math.exp(-(((u - mean) / a) ** 2) / 2)

    for s in (0.3 * a, a, 3 * a):
        t = mean + s
        rest = quad(lambda u: 2 * u * beyond(u), t, t + 20 * a)[0]
        assert made.truncated(s) == pytest.approx(t**2 * beyond(t) + rest, rel=1e-9)


def test_matrix_chernoff_with_its_constant():
    """N (e^{−1/2}√2)^{n λ̂/t²} over the truncations that keep λ̂ ≥ λ/2."""
    F = torch.eye(3, dtype=torch.float64)
    made = tail("relu", F, beta=1.0, lam=0.3)
    n = 5000
    best = 1.0
    for k in range(64):
        s = made.width * (0.5 + 11.5 * k / 63)
        kept = 0.3 - made.truncated(s)
        if kept >= 0.15:
            rate = math.exp(-0.5) * math.sqrt(2.0)
            best = min(best, 3 * rate ** (n * kept / (made.mean + s) ** 2))
    assert 0 < best < 1e-3
    assert made.failure(n) == pytest.approx(best, rel=1e-9)
    assert made.failure(math.ceil(made.sufficient_width(0.01))) <= 0.01
    assert made.failure(math.floor(made.sufficient_width(0.01)) - 1) > 0.01


def test_nothing_is_promised_where_no_truncation_keeps_half_of_lambda():
    """λ̂ ≥ λ/2 is what makes n λ̂/2 the lemma's n λ/4; here the longest keeps a third."""
    F = torch.eye(3, dtype=torch.float64)
    longest = tail("relu", F).truncated(12.0 * tail("relu", F).width)
    assert tail("relu", F, lam=1.5 * longest).sufficient_width(0.1) == math.inf
    assert tail("relu", F, lam=1.5 * longest).failure(10**40) == 1.0
    assert tail("relu", F, lam=2.5 * longest).sufficient_width(0.1) < math.inf
