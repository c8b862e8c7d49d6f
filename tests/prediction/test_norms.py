"""The laws of the rows' norms."""

import numpy as np
import pytest
from scipy.stats import beta, chi2

from ntkscope.prediction import norms


@pytest.mark.parametrize(("n_samples", "dim"), [(10, 2), (1000, 60), (1e9, 784)])
def test_gaussian_norms_are_scipy_s_quantiles(n_samples, dim):
    found = norms.resolve("gaussian", n_samples, dim)
    order = np.arange(1, min(16, int(n_samples)) + 1)
    for t, q in zip((found.t, *found.spread), (0.5, 0.16, 0.84), strict=True):
        expected = chi2.ppf(beta.ppf(q, order, n_samples + 1.0 - order), dim) / dim
        np.testing.assert_allclose(t[: len(order)], expected, rtol=1e-11)
