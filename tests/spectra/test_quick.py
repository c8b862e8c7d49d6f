"""The float32 start: what it finds is what two float64 factorisations find, and it declines in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.solvers.dense import Engine
from ntkscope.spectra.solvers.quick import single_start
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import LentSource, as_source
from oracles.inertia import at_least, at_most, exact
from spectra.matrices import prescribed

N = 330
U = 2.0**-53


def quick(K: torch.Tensor):
    source = as_source(K)
    return Engine(source, Panels.empty(len(K))).quick(1)


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_interval_holds_the_known_eigenvalue(exponent, seed):
    values = np.geomspace(10.0**-exponent, 1, N)
    found = quick(prescribed(values, seed))
    assert found is not None, "float32 tells these eigenvalues apart"
    blur = 4 * N * U  # of the product that made the matrix
    assert found.bound == "C"
    assert found.lower[0] <= found.values[0] <= found.upper[0]
    assert found.lower[0] - blur <= values[0] <= found.upper[0] + blur
    assert found.upper[0] - found.lower[0] <= 1e-10 * values[0]
    assert found.multiplicity == 1


def test_the_interval_holds_in_exact_arithmetic():
    K = prescribed(np.geomspace(1e-3, 1, 40))
    engine = Engine(as_source(K), Panels.empty(40), small=10)
    found = engine.quick(1)
    assert found is not None
    assert at_least(exact(K), found.lower[0])
    assert at_most(exact(K), found.upper[0])


@pytest.mark.parametrize("count", [2, 3])
def test_a_small_cluster_is_deflated_whole(count):
    values = np.geomspace(0.01, 1, N)
    values[:count] = 0.005
    found = ntk.smallest_eigenvalue(prescribed(values))
    assert found.multiplicity == count
    assert found.certificate == "C"
    assert abs(found.value - 0.005) <= 4 * N * U


@pytest.mark.parametrize(
    "values",
    [
        np.geomspace(1e-9, 1, N),
        np.r_[-1e-3, np.geomspace(1e-2, 1, N - 1)],
        np.r_[0.0, np.geomspace(1e-2, 1, N - 1)],
        np.r_[np.full(20, 0.1), np.geomspace(0.2, 1, N - 20)],
        np.ones(N),
    ],
    ids=["ill conditioned", "indefinite", "singular", "wide cluster", "identity"],
)
def test_what_float32_cannot_tell_apart_is_left_to_float64(values):
    K = prescribed(values)
    assert quick(K) is None
    assert "float32" not in ntk.smallest_eigenvalue(K).method


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**120])
def test_scales_beyond_float32_are_declined(scale):
    K = prescribed(np.geomspace(0.01, 1, N)) * scale
    assert quick(K) is None
    found = ntk.smallest_eigenvalue(K)
    assert found.value / scale == pytest.approx(0.01, rel=1e-12)


def test_in_place_gives_the_same_and_restores_the_matrix():
    K = prescribed(np.geomspace(0.01, 1, N))
    before, plain = K.clone(), ntk.smallest_eigenvalue(K)
    found = ntk.smallest_eigenvalue(K, in_place=True)
    assert torch.equal(K, before)
    assert "float32" in found.method
    assert "float32" in plain.method
    assert max(found.lower, plain.lower) <= min(found.upper, plain.upper)


def test_a_kernel_of_factors_starts_in_float32_too():
    model = ntk.Network([8, 40, 40, 1]).sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(N, 8, seed=1))
    found, plain = ntk.smallest_eigenvalue(K, method="packed"), ntk.smallest_eigenvalue(K.dense())
    assert "float32" in found.method
    assert found.certificate == "C"
    error = K.forming_error()  # of each read of the kernel
    assert found.upper - found.lower <= 4 * error + 1e-10 * found.value
    assert max(found.lower, plain.lower - error) <= min(found.upper, plain.upper + error)
    assert "float32" not in ntk.smallest_eigenvalue(K, method="packed", certify=False).method


def test_single_panels_live_in_the_memory_of_the_others():
    K = prescribed(np.geomspace(0.01, 1, N))
    for source, panels in (
        (as_source(K), Panels.empty(N)),
        (LentSource(as_source(K)), None),
    ):
        panels = source.panels() if panels is None else panels
        low = panels.single()
        for (_, a), (_, b) in zip(panels, low, strict=True):
            assert a.shape == b.shape
            assert b.dtype == torch.float32
            assert a.data_ptr() == b.data_ptr()


def test_a_missing_gap_is_seen():
    values = np.geomspace(0.1, 1, N)
    source = as_source(prescribed(values))

    def stage(name: str) -> Stage:
        return Stage(name, None)

    assert single_start(source, Panels.empty(N), 1, 1.0, stage) is None  # gaps below the slack
    assert single_start(source, Panels.empty(N), 1, 1e-12, stage) is not None
