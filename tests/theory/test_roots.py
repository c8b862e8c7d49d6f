"""The root finder against SciPy's, and the modules that a prediction must not wait for."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, chi2

from ntkscope.theory import norms
from ntkscope.theory.roots import root

FUNCTIONS = [
    (lambda x: math.exp(x) - 2.0, -5.0, 60.0),
    (lambda x: x**9, -1.0, 1.7),
    (lambda x: math.atan(40.0 * (x - 0.3)), -100.0, 3.0),
    (lambda x: 1.0 - 1.0 / (x + 2.0), -1.999999, 1e6),
    (lambda x: -1.0 if x < math.pi else 1.0, 0.0, 10.0),
    (lambda x: math.expm1(-30.0 * x) + 1e-9, -1.0, 20.0),
]


@pytest.mark.parametrize("turned", [1.0, -1.0])
@pytest.mark.parametrize(("f", "low", "high"), FUNCTIONS)
def test_agrees_with_scipy(f, low, high, turned):
    calls = []

    def counted(x):
        calls.append(x)
        return turned * f(x)

    found = root(counted, low, high, xtol=1e-13)
    assert all(low <= x <= high for x in calls)
    expected = brentq(f, low, high, xtol=1e-13, rtol=1e-15, maxiter=1000)
    # each is within its tolerance of a place where the sign changes; x⁹ is 0 to underflow around 0
    flat = 1e-13 + 4e-15 * abs(expected)
    assert abs(found - expected) <= 2 * flat
    assert len(calls) < 120


def test_ends_that_are_roots_and_ends_of_one_sign():
    assert root(lambda x: x - 1.0, 1.0, 2.0, 1e-12) == 1.0
    assert root(lambda x: x - 2.0, 1.0, 2.0, 1e-12) == 2.0
    with pytest.raises(ValueError, match="one sign"):
        root(lambda x: x * x + 1.0, -1.0, 1.0, 1e-12)


@pytest.mark.parametrize(("n_samples", "dim"), [(10, 2), (1000, 60), (1e9, 784)])
def test_gaussian_norms_are_scipy_s_quantiles(n_samples, dim):
    found = norms.resolve("gaussian", n_samples, dim)
    order = np.arange(1, min(16, int(n_samples)) + 1)
    for t, q in zip((found.t, *found.spread), (0.5, 0.16, 0.84), strict=True):
        expected = chi2.ppf(beta.ppf(q, order, n_samples + 1.0 - order), dim) / dim
        np.testing.assert_allclose(t[: len(order)], expected, rtol=1e-11)


def test_a_prediction_loads_nothing_heavy_besides_torch():
    code = (
        "import sys\n"
        "from ntkscope.cli.main import main\n"
        "try:\n"
        "    main('predict --widths 60,100,100,1 --samples 100'.split())\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = ('scipy.stats', 'scipy.optimize', 'scipy.integrate', 'scipy.linalg', 'sklearn',\n"
        "         'matplotlib', 'plotly', 'jinja2', 'pandas', 'flint')\n"
        "print('\\nloaded:', [name for name in heavy if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "loaded: []"
