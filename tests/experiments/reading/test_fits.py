"""Fits find the law that made the data, and say how well they know it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkscope.experiments.reading.exponents import scaling_verdict, trend
from ntkscope.experiments.reading.fits import Estimate, PowerLaw, line, power_law, upper_half
from ntkscope.statements.outcomes import Trend

XS = [10.0, 20.0, 40.0, 80.0, 160.0]


def noisy(exponent, constant, noise, trials, seed, xs=XS):
    rng = np.random.default_rng(seed)
    return {x: constant * x**exponent * (1 + noise * rng.standard_normal(trials)) for x in xs}


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(1e-6, 1e6), st.integers(1, 4))
def test_an_exact_law_is_found_exactly(exponent, constant, trials):
    law = power_law({x: [constant * x**exponent] * trials for x in XS})
    assert law.exponent.value == pytest.approx(exponent, abs=1e-10)
    assert law.constant.value == pytest.approx(constant, rel=1e-8)
    assert law.scatter < 1e-10
    assert law.n_trials == 5 * trials


def test_intervals_cover_as_often_as_they_say():
    # 60 sets at 95%: between 51 and 60 covered with probability 1 − 2e-4, percentile bias included
    covered = sum(
        power_law(noisy(0.7, 3.0, 0.2, 30, seed)).exponent.contains(0.7) for seed in range(60)
    )
    assert covered >= 51


def test_noisy_points_weigh_less():
    groups = noisy(1.0, 1.0, 0.001, 10, 0)
    groups[160.0] = groups[160.0] * np.linspace(0.1, 3.0, 10)
    assert power_law(groups).exponent.value == pytest.approx(1.0, abs=0.02)


def test_a_point_weighs_by_the_inverse_variance_of_its_mean():
    """Relative variances s²/n: a tenth of the spread weighs a hundredfold, a hundred trials too."""
    spread = np.array([0.9, 1.1])
    groups = {1.0: spread, 2.0: 2 * np.tile(spread, 100), 4.0: 16 * (1 + (spread - 1) / 10)}
    weights = np.array([1.0, 199.0, 100.0])  # n(n − 1)/Σ(y/ȳ − 1)², up to a factor
    x, y = np.log([1, 2, 4]), np.log([1, 2, 16])
    slope = np.polyfit(x, y, 1, w=np.sqrt(weights))[0]
    assert power_law(groups).exponent.value == pytest.approx(slope, rel=1e-12)


def test_intervals_are_the_middle_95_of_a_hundred():
    """Three exact points and one whose mean is normal: the interval is ± 1.96 standard errors."""
    rng = np.random.default_rng(3)
    trials = rng.standard_normal(400)
    trials = 8 + 0.1 * (trials - trials.mean()) / trials.std()
    fitted = line({0.0: [0.0] * 400, 1.0: [0.0] * 400, 2.0: [0.0] * 400, 3.0: trials})
    error = 0.3 * 0.1 / 20  # the slope takes 3/10 of the last mean
    assert fitted.slope.value == pytest.approx(2.4)
    assert fitted.slope.high - fitted.slope.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_an_approach_is_nearer_by_more_than_both_intervals():
    def law(value, half):
        interval = Estimate(value, value - half, value + half)
        return PowerLaw(interval, interval, 0.0, 5, 5, "trials")

    def told(whole, late):
        return trend(1.0, law(*whole), law(*late), lambda slope: slope.contains(1.0))

    assert told((1.5, 0.1), (1.2, 0.1)) is Trend.APPROACHED
    assert told((1.5, 0.2), (1.4, 0.2)) is Trend.CONTRADICTED  # nearer, but not apart
    assert told((1.5, 0.1), (1.8, 0.1)) is Trend.CONTRADICTED  # apart, but farther
    assert told((1.5, 0.1), (1.05, 0.1)) is Trend.CONSISTENT


def test_a_line_and_what_it_explains():
    fitted = line({x: [2.0 + 3.0 * x, 4.0 + 3.0 * x] for x in XS})
    assert fitted.slope.value == pytest.approx(3.0)
    assert fitted.intercept.value == pytest.approx(3.0)
    assert fitted.explained == pytest.approx(1.0)
    bent = line({x: [x**2] for x in XS})
    assert bent.explained < 0.95
    assert bent.resampled == "points"


@pytest.mark.parametrize(
    ("law", "claimed", "outcome"),
    [
        (lambda x: 3 * x, 1.0, Trend.CONSISTENT),
        (lambda x: 3 * (x - 5), 1.0, Trend.APPROACHED),
        (lambda x: 3 * x + x**2 / 20, 1.0, Trend.CONTRADICTED),
        (lambda x: x**-0.5, -0.5, Trend.CONSISTENT),
    ],
)
def test_outcomes(law, claimed, outcome):
    rng = np.random.default_rng(0)
    groups = {x: law(x) * (1 + 0.005 * rng.standard_normal(20)) for x in XS}
    verdict = scaling_verdict("curve", groups, claimed)
    assert verdict.outcome is outcome
    assert verdict.to_dict()["outcome"] == outcome.value


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({1.0: [1.0], 2.0: [1.0]}, "at least 3 points"),
        ({1.0: [1.0], 2.0: [0.0], 3.0: [1.0]}, "positive means"),
        ({-1.0: [1.0], 2.0: [1.0], 3.0: [1.0]}, "x > 0"),
        ({1.0: [1.0], 2.0: [float("nan")], 3.0: [1.0]}, "not finite"),
        ({1.0: [1.0], 2.0: [], 3.0: [1.0]}, "missing"),
    ],
)
def test_data_that_no_law_fits(groups, message):
    with pytest.raises(ValueError, match=message):
        power_law(groups)


def test_the_upper_half_keeps_at_least_three():
    assert list(upper_half({x: [1.0] for x in XS})) == [40.0, 80.0, 160.0]
    assert len(upper_half({x: [1.0] for x in XS[:3]})) == 3
