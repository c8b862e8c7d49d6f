"""Densities against the eigenvalues themselves, within the standard errors they state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ntkscope as ntk
from spectra.matrices import prescribed

VALUES = np.geomspace(1e-3, 10, 400)


@pytest.fixture(scope="module")
def matrix():
    return prescribed(VALUES)


def test_small_matrices_have_every_eigenvalue(matrix):
    found = ntk.spectral_density(matrix)
    assert found.exact
    assert np.abs(found.nodes[0].numpy() - VALUES).max() <= 2 * found.error
    assert found.trace.value == pytest.approx(VALUES.sum(), rel=1e-13)
    assert found.log_determinant.value == pytest.approx(np.log(VALUES).sum(), rel=1e-10)
    assert found.effective_rank.value == pytest.approx(VALUES.sum() ** 2 / (VALUES**2).sum())
    assert found.effective_dimension(0.5).value == pytest.approx((VALUES / (VALUES + 0.5)).sum())
    assert found.cumulative(1.0).value == pytest.approx((VALUES <= 1).mean())


def test_standard_errors_cover_the_truth(matrix):
    """Probes and seeds are fixed beforehand; 4 standard errors of 12 probes (Student's t, p < 0.3%)."""
    found = ntk.spectral_density(matrix, exact=False, n_probes=12, n_steps=80, seed=3)
    assert not found.exact
    true = {
        "log_determinant": np.log(VALUES).sum(),
        "effective_rank": VALUES.sum() ** 2 / (VALUES**2).sum(),
    }
    for name, expected in true.items():
        got = getattr(found, name)
        assert got.stderr > 0
        assert abs(got.value - expected) <= 4 * got.stderr, name
    assert found.trace.stderr == 0
    assert found.trace.value == pytest.approx(VALUES.sum(), rel=1e-13)
    edges = torch.tensor([0.0, 0.01, 0.1, 1.0, 20.0], dtype=torch.float64)
    share, stderr = found.histogram(edges)
    expected = np.histogram(VALUES, edges.numpy())[0] / len(VALUES)
    assert bool((torch.from_numpy(expected) - share).abs().le(4 * stderr).all())
    assert float(share.sum()) == pytest.approx(1)


def test_weights_of_each_probe_sum_to_one_after_a_breakdown():
    found = ntk.spectral_density(torch.eye(50), exact=False, n_probes=3, n_steps=10)
    assert torch.allclose(found.weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert found.log_determinant.value == pytest.approx(0, abs=1e-12)
    assert found.effective_rank.value == pytest.approx(50)


def test_operators_estimate_the_trace(matrix):
    wide = ntk.spectral_density((lambda v: 2 * v, 4000), n_steps=3)
    assert wide.trace.value == pytest.approx(8000)
    formed = ntk.spectral_density((lambda v: matrix @ v, 400))
    assert formed.exact


def test_a_singular_matrix_has_no_log_determinant():
    found = ntk.spectral_density(torch.diag(torch.tensor([0.0, 1.0])))
    assert found.log_determinant.value == -math.inf


def test_the_same_seed_gives_the_same_numbers(matrix):
    a, b, c = (
        ntk.spectral_density(matrix, exact=False, n_steps=20, seed=s).log_determinant
        for s in (1, 1, 2)
    )
    assert a == b != c


def test_bad_input(matrix):
    with pytest.raises(ValueError, match="two probes"):
        ntk.spectral_density(matrix, exact=False, n_probes=1)
    with pytest.raises(ValueError, match="ridge"):
        ntk.spectral_density(matrix).effective_dimension(0.0)
    with pytest.raises(ValueError, match="square"):
        ntk.spectral_density(torch.ones(2, 3))
