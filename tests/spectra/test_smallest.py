"""λ_min of matrices whose eigenvalues are known, by every method and from every kind of input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hilbert
from scipy.sparse.linalg import aslinearoperator

import ntkscope as ntk
from ntkscope import Status
from ntkscope.spectra.solvers.dense import Engine
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import as_source
from oracles.inertia import at_least, at_most, exact
from spectra.matrices import prescribed

N = 330  # above the size that LAPACK does whole, so that the panels and Lanczos are at work
U = 2.0**-53


@pytest.fixture(scope="module")
def kernel():
    model = ntk.Network([20, 120, 60, 1], activation="relu", init="he").sample(seed=0)
    return ntk.empirical_ntk(model, ntk.data.gaussian(n_samples=N, dim=20, seed=1))


def rounding(values) -> float:
    """The error of ``prescribed`` itself: n u max|λ| with room for the three products behind it."""
    return 4 * len(values) * U * float(np.abs(values).max())


@pytest.mark.parametrize("exponent", [0, 2, 4, 6, 8, 10, 12, 13, 15])
@pytest.mark.parametrize("n", [30, N])
def test_prescribed_condition_numbers(n, exponent):
    values = np.geomspace(10.0**-exponent, 1, n) if exponent else np.ones(n)
    found = ntk.smallest_eigenvalue(prescribed(values))
    assert abs(found.value - values[0]) <= rounding(values)
    assert found.lower <= found.value <= found.upper
    assert found.lower - rounding(values) <= values[0] <= found.upper + rounding(values)
    if exponent <= 10:
        assert found.status is Status.OK
        # the loss of the bound is of second order in the residual, u·√n·κ relative to λ
        assert found.upper - found.lower <= 1e-7 * found.value
    assert found.vector is not None
    assert float(found.vector.norm()) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("count", [2, 3, 7, 20])
def test_multiplicities_are_counted(count):
    values = np.geomspace(1e-3, 1, N)
    values[:count] = 5e-4
    found = ntk.smallest_eigenvalue(prescribed(values))
    assert found.multiplicity == count
    assert found.certificate == "C"
    assert found.upper - found.lower <= 1e-9 * found.value


def test_identity_has_every_eigenvalue_the_same():
    found = ntk.smallest_eigenvalue(torch.eye(40, dtype=torch.float64))
    assert found.multiplicity == 40
    assert found.lower <= 1.0 <= found.upper


@pytest.mark.parametrize("n", [30, N])
@pytest.mark.parametrize("negative", [-1.0, -1e-3, -1e-9])
def test_negative_eigenvalues_are_found_and_said(n, negative):
    values = np.geomspace(1e-4, 1, n)
    values[0] = negative
    found = ntk.smallest_eigenvalue(prescribed(values))
    assert found.status is Status.INDEFINITE
    assert abs(found.value - negative) <= rounding(values)
    assert found.lower <= found.value <= found.upper < 0


@pytest.mark.parametrize("n", [30, N])
def test_an_exact_zero_cannot_be_told_from_noise(n):
    F = torch.randint(-3, 4, (n, n - 1), generator=torch.Generator().manual_seed(0)).double()
    found = ntk.smallest_eigenvalue(F @ F.T)
    assert found.status is Status.BELOW_NOISE
    assert found.lower <= 0 <= found.upper
    assert "float64" in found.status.advice


@pytest.mark.parametrize("n", [1, 5, 300])
def test_the_zero_matrix(n):
    found = ntk.smallest_eigenvalue(np.zeros((n, n)))
    assert found.value == 0
    assert found.status is Status.BELOW_NOISE
    assert found.lower <= 0 <= found.upper


@pytest.mark.parametrize("n", [3, 5, 8, 10])
def test_hilbert(n):
    """λ_min of the stored matrix, against exact arithmetic; n = 10 has κ = 1.6e13."""
    K = hilbert(n)
    found = ntk.smallest_eigenvalue(K)
    truth = exact(torch.from_numpy(K))
    assert at_least(truth, found.lower)
    assert at_most(truth, found.upper)
    assert found.upper - found.lower <= 1e-3 * found.value


@pytest.mark.parametrize("n", [20, N])
@pytest.mark.parametrize("rho", [0.1, 0.9, 0.999])
def test_kac_murdock_szego(n, rho):
    """K_ij = ρ^|i−j|: λ_min = (1 − ρ²)/(1 − 2ρ cos θ + ρ²) at the largest root, between
    (n−1)π/(n+1) and nπ/(n+1), of sin((n+1)θ) − 2ρ sin(nθ) + ρ² sin((n−1)θ) = 0
    (Grenander and Szegő, 1958, §5.3)."""
    i = np.arange(n)
    found = ntk.smallest_eigenvalue(rho ** np.abs(i[:, None] - i[None, :]))

    def equation(t: float) -> float:
        return math.sin((n + 1) * t) - 2 * rho * math.sin(n * t) + rho**2 * math.sin((n - 1) * t)

    low, high = math.pi * (n - 1) / (n + 1), math.pi * n / (n + 1)
    for _ in range(200):
        middle = (low + high) / 2
        same = (equation(middle) > 0) == (equation(low) > 0)
        low, high = (middle, high) if same else (low, middle)
    theta = (low + high) / 2
    expected = (1 - rho**2) / (1 - 2 * rho * math.cos(theta) + rho**2)
    # powers are stored to u each, and ‖K‖ ≤ (1 + ρ)/(1 − ρ)
    assert found.value == pytest.approx(expected, rel=1e-12, abs=8 * U * (1 + rho) / (1 - rho))
    assert found.status is Status.OK


@pytest.mark.parametrize("n", [64, 512])
def test_circulant_limiting_kernel(n):
    """Equispaced points on the circle: eigenvalues by FFT, nearly all of them double."""
    angle = 2 * np.pi * np.arange(n) / n
    delta = np.minimum(angle, 2 * np.pi - angle)
    row = ((np.pi - delta) * np.cos(delta) + np.sin(delta)) / np.pi + np.cos(delta) * (
        1 - delta / np.pi
    )
    values = np.fft.fft(row).real
    K = row[(np.arange(n)[:, None] - np.arange(n)[None, :]) % n]
    found = ntk.smallest_eigenvalue(K)
    assert abs(found.value - values.min()) <= 4 * n * U * values.max()


def test_near_duplicates():
    X = ntk.data.gaussian(n_samples=N, dim=20, seed=1)
    X[1] = X[0] + 1e-6 * X[1]
    model = ntk.Network([20, 120, 60, 1], activation="tanh", init="lecun").sample(seed=0)
    K = ntk.empirical_ntk(model, X)
    found = ntk.smallest_eigenvalue(K)
    pair = torch.zeros(N, dtype=torch.float64)
    pair[0], pair[1] = 0.5**0.5, -(0.5**0.5)
    assert found.upper <= float(pair @ (K @ pair)) + K.forming_error() * 2
    assert abs(float(found.vector @ pair)) > 0.9


@pytest.mark.parametrize("method", ["dense", "packed", "disk"])
def test_every_factorisation_gives_the_same_interval(kernel, method):
    found = ntk.smallest_eigenvalue(kernel, method=method)
    true = torch.linalg.eigvalsh(kernel.dense())
    assert found.status is Status.OK
    assert abs(found.value - float(true[0])) <= 4 * N * U * float(true[-1])
    assert found.lower <= float(true[0]) <= found.upper
    assert found.covers == "the exact kernel of the stored factors"
    assert found.norm == pytest.approx(float(true[-1]), rel=0.05)


@pytest.mark.parametrize("method", ["float32", "products"])
def test_products_give_an_upper_bound_and_say_so(kernel, method):
    found = ntk.smallest_eigenvalue(kernel, method=method, tolerance=1e-4)
    true = float(torch.linalg.eigvalsh(kernel.dense())[0])
    assert found.status is Status.ESTIMATE
    assert found.lower == 0.0
    assert true <= found.upper
    assert found.value == pytest.approx(true, rel=1e-3)
    assert "estimated relative error" in found.note


def test_without_a_certificate_it_is_an_estimate(kernel):
    found = ntk.smallest_eigenvalue(kernel, certify=False)
    assert found.status is Status.ESTIMATE
    assert found.certificate == ""
    assert found.lower < 0 < found.value <= found.upper


def test_in_place_leaves_the_matrix_as_it_was(kernel):
    K = kernel.dense()
    before = K.clone()
    found = ntk.smallest_eigenvalue(K, in_place=True)
    assert bool((before == K).all())
    other = ntk.smallest_eigenvalue(K)
    assert found.lower <= other.upper
    assert other.lower <= found.upper
    assert found.upper - found.lower <= 1e-12 * found.value


def test_interrupted_in_place_leaves_the_matrix_as_it_was(kernel):
    K = kernel.dense()
    before = K.clone()

    def interrupt(progress):
        if progress.stage == "Cholesky" and progress.done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.smallest_eigenvalue(K, in_place=True, progress=interrupt)
    assert bool((before == K).all())


@pytest.mark.parametrize("stage", ["forming", "Cholesky", "inverse Lanczos"])
def test_interrupted_on_disk_leaves_no_file(kernel, stage, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []

    def interrupt(progress):
        seen.append((progress.stage, list(tmp_path.iterdir())))
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.smallest_eigenvalue(kernel, method="disk", progress=interrupt)
    # the file has no name even while it is in use, so nothing can leave it behind
    assert seen
    assert not any(files for _, files in seen)


def test_progress_reports_stages_residuals_and_time(kernel):
    reports = []
    ntk.smallest_eigenvalue(kernel, progress=reports.append)
    stages = list(dict.fromkeys(r.stage for r in reports))
    assert stages[:2] == ["forming in float32", "float32 Cholesky"]
    assert [s for s in stages if "float32" not in s] == ["forming", "Cholesky", "inverse Lanczos"]
    assert any(r.residual is not None for r in reports)
    assert any(r.remaining is not None and "left" in str(r) for r in reports)
    assert all(0 <= r.done <= 1 for r in reports)


def test_every_input_is_the_same_matrix(kernel):
    K = kernel.dense()
    reference = ntk.smallest_eigenvalue(K)
    inputs = {
        "array": K.numpy(),
        "fortran": np.asfortranarray(K.numpy()),
        "operator": aslinearoperator(K.numpy()),
        "callable": (lambda v: K @ v, N),
    }
    for name, same in inputs.items():
        found = ntk.smallest_eigenvalue(same)
        assert found.lower <= reference.upper, name
        assert found.upper >= reference.lower, name
        assert found.status is Status.OK


def test_a_large_operator_is_applied_only():
    values = torch.linspace(1, 2, 3200, dtype=torch.float64)
    found = ntk.smallest_eigenvalue((lambda v: values * v, 3200), tolerance=1e-3)
    assert found.status is Status.ESTIMATE
    assert found.lower == -math.inf
    assert found.value == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_agree_within_the_interval(kernel, threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = ntk.smallest_eigenvalue(kernel)
    finally:
        torch.set_num_threads(before)
    true = float(torch.linalg.eigvalsh(kernel.dense())[0])
    assert found.lower <= true <= found.upper


def test_the_same_call_gives_the_same_bits(kernel):
    K = kernel.dense()
    first, second = (ntk.smallest_eigenvalue(K) for _ in range(2))
    assert (first.value, first.lower, first.upper) == (second.value, second.lower, second.upper)
    state = torch.get_rng_state()
    ntk.smallest_eigenvalue(K)
    assert torch.equal(state, torch.get_rng_state())


def test_float32_is_read_as_the_numbers_it_holds():
    K = prescribed(np.geomspace(1e-2, 1, 50))
    single = K.float()
    single = (single + single.T) / 2
    found = ntk.smallest_eigenvalue(single)
    assert found.status is Status.OK
    assert at_least(exact(single[:4, :4].double()), -1.0)
    assert found.lower <= float(torch.linalg.eigvalsh(single.double())[0]) + 50 * U


def test_float32_that_cannot_carry_the_value_says_so():
    K = prescribed(np.geomspace(1e-9, 1, 50)).float()
    found = ntk.smallest_eigenvalue((K + K.T) / 2)
    assert found.status is Status.BELOW_NOISE
    assert "rounding" in found.note


def test_more_samples_than_parameters_is_exactly_zero():
    model = ntk.Network([3, 4, 1], activation="relu", init="he").sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n_samples=300, dim=3, seed=1))
    found = ntk.smallest_eigenvalue(K)
    assert found.status is Status.RANK_DEFICIENT
    assert (found.lower, found.value, found.upper) == (0, 0, 0)
    assert float(torch.linalg.vector_norm(K.dense() @ found.vector)) <= 1e-9


def test_a_budget_of_products_that_is_too_small_is_said(kernel):
    from ntkscope.spectra.solvers.davidson import lowest_by_products

    ends = lowest_by_products(
        as_source(kernel), 1, single=False, tolerance=1e-12, callback=None, max_products=8
    )
    assert not ends.converged


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), exponent=st.floats(0, 14))
def test_lanczos_agrees_with_lapack(seed, n, exponent):
    K = prescribed(10.0 ** (-exponent * np.random.default_rng(seed).random(n)), seed)
    engines = [Engine(as_source(K), Panels.empty(n), small=small) for small in (1, 256)]
    ends = [e.enclose(e.pairs(1), 1, certify=True) for e in engines]
    # eigenvalues nearer than rounding are not waited for: the residual is then at most 1e-13 λ
    slack = 8 * n * U + 1e-12 * abs(ends[1].values[0])
    assert abs(ends[0].values[0] - ends[1].values[0]) <= slack
    assert ends[0].lower[0] <= ends[1].upper[0]
    assert ends[1].lower[0] <= ends[0].upper[0]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 700), seed=st.integers(0, 100))
def test_panels_factor_and_solve(n, seed):
    """The factor in panels, in memory and inside a matrix, against LAPACK's."""
    K = prescribed(np.linspace(1, 2, n), seed)
    source = as_source(K)
    stage = Engine(source, Panels.empty(n)).stage("")
    b = torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = torch.linalg.solve(K, b)
    for panels in (Panels.empty(n), Panels.inside(K.clone())):
        panels.fill(source.block, stage)
        assert panels.factor(stage)
        assert torch.allclose(panels.solve(b), expected, rtol=0, atol=100 * n * U)


class TestBadInput:
    def test_not_square(self):
        with pytest.raises(ValueError, match=r"square.*smallest_singular_value"):
            ntk.smallest_eigenvalue(torch.ones(3, 4))

    def test_cross_kernel(self):
        model = ntk.Network([3, 4, 1]).sample(seed=0)
        X = ntk.data.gaussian(n_samples=3, dim=3, seed=0)
        with pytest.raises(ValueError, match="cross kernel"):
            ntk.smallest_eigenvalue(ntk.empirical_ntk(model, X, X[:2]))

    def test_asymmetric(self):
        K = torch.eye(5, dtype=torch.float64)
        K[1, 0] = 1e-3
        with pytest.raises(ValueError, match=r"up to 0\.001.*\(K \+ K\.T\) / 2"):
            ntk.smallest_eigenvalue(K)

    def test_asymmetric_by_rounding_is_allowed_for(self):
        K = prescribed(np.linspace(1, 2, 20))
        K[3, 2] += 4e-16
        found = ntk.smallest_eigenvalue(K)
        assert found.covers == "the symmetric part of the matrix"
        assert found.upper - found.lower >= 4e-16

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_not_finite(self, bad):
        K = torch.eye(5, dtype=torch.float64)
        K[2, 3] = bad
        with pytest.raises(ValueError, match=r"\(2, 3\)"):
            ntk.smallest_eigenvalue(K)

    def test_complex(self):
        with pytest.raises(TypeError, match="real"):
            ntk.smallest_eigenvalue(torch.eye(3, dtype=torch.complex128))

    def test_half_precision(self):
        with pytest.raises(TypeError, match="float64"):
            ntk.smallest_eigenvalue(torch.eye(3, dtype=torch.float16))

    def test_integers_and_one_by_one(self):
        found = ntk.smallest_eigenvalue(np.array([[7]]))
        assert found.lower <= 7 <= found.upper
        assert found.upper - found.lower <= 1e-13
        assert ntk.smallest_eigenvalue([[2, 1], [1, 2]]).value == pytest.approx(1, abs=1e-15)

    def test_callable_without_a_size(self):
        with pytest.raises(TypeError, match="size"):
            ntk.smallest_eigenvalue(lambda v: v)

    def test_callable_of_the_wrong_size(self):
        with pytest.raises(ValueError, match="vector of 4 numbers"):
            ntk.smallest_eigenvalue((lambda v: v[:2], 4))

    def test_unknown_method(self):
        with pytest.raises(ValueError, match="packed"):
            ntk.smallest_eigenvalue(torch.eye(3), method="packd")

    def test_method_that_does_not_apply(self):
        with pytest.raises(ValueError, match=r"does not apply.*dense"):
            ntk.smallest_eigenvalue(torch.eye(3), method="packed")

    def test_in_place_needs_float64(self):
        with pytest.raises(ValueError, match="contiguous float64"):
            ntk.smallest_eigenvalue(torch.eye(3, dtype=torch.float32), in_place=True)

    def test_too_large_says_what_to_pass_instead(self):
        K = torch.eye(400, dtype=torch.float64)
        with pytest.raises(MemoryError, match="HadamardKernel"):
            ntk.smallest_eigenvalue(K, method="dense", memory=1e5)

    @pytest.mark.parametrize("scale", [1e150, 1e-150])
    def test_scales_that_overflow(self, scale):
        with pytest.raises(ValueError, match="power of two"):
            ntk.smallest_eigenvalue(torch.eye(3, dtype=torch.float64) * scale)
