"""No certificate is ever violated: exact rational arithmetic decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkscope.spectra import rounding
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof.certify import Shifted, cholesky_bound, factor_error, rayleigh
from ntkscope.spectra.rounding import (
    accurate_product,
    block_side,
    exact_dot,
    slices,
    symmetric_product,
    two_product,
    two_sum,
)
from ntkscope.spectra.solvers.dense import Engine
from ntkscope.spectra.storage.panels import Panels, shortfall
from ntkscope.spectra.storage.source import as_source
from oracles import ball_inertia, inertia
from oracles.inertia import at_least, at_most, exact, exact_kernel
from spectra.matrices import KINDS, prescribed, random_kernel, random_matrix

CASE = {
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 9),
    "kind": st.sampled_from([*KINDS, "kernel"]),
    "single": st.booleans(),
    "afterwards": st.booleans(),
    "lanczos": st.booleans(),
    "k": st.integers(1, 3),
}


def enclosed(seed, n, kind, single, afterwards, lanczos, k, judge=inertia):
    """Run one case; assert that ``judge`` finds every eigenvalue in its interval."""
    rng = np.random.default_rng(seed)
    dtype = torch.float32 if single else torch.float64
    if kind == "kernel":
        K = random_kernel(rng, n, dtype)
        truth = exact_kernel(K)
    else:
        K = random_matrix(rng, n, kind).to(dtype)
        truth = exact(K)
    source = as_source(K)
    engine = Engine(source, Panels.empty(n), afterwards=afterwards, small=1 if lanczos else 256)
    k = min(k, n)
    ends = engine.enclose(engine.pairs(k), k, certify=True)
    assert judge.at_least(truth, ends.lower[0]), (ends.lower[0], ends.bound)
    assert judge.at_most(truth, ends.upper[0])
    for i in range(1, k):
        below = judge.count_below(truth, ends.lower[i])
        above = judge.count_below(truth, ends.upper[i])
        assert below is None or below <= i
        assert above is None or above >= i + 1
    return ends


@settings(max_examples=150, deadline=None)
@given(**CASE)
def test_no_certificate_is_violated(**case):
    enclosed(**case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_no_certificate_is_violated_in_10_000_cases(part):
    """A thousand matrices each, against elimination in ball arithmetic."""
    rng = np.random.default_rng(part)
    kinds = (*KINDS, "kernel")
    for index in range(1000):
        single, afterwards, lanczos = (bool(b) for b in rng.integers(0, 2, 3))
        enclosed(
            int(rng.integers(1 << 32)), int(rng.integers(1, 10)), kinds[index % len(kinds)],
            single, afterwards, lanczos, int(rng.integers(1, 4)), ball_inertia,
        )  # fmt: skip


@pytest.mark.parametrize("afterwards", [False, True])
@pytest.mark.parametrize("kind", ["graded", "cluster", "plain"])
def test_each_bound_is_reached(kind, afterwards):
    """The cases above do exercise every bound: none is proved by a fallback alone."""
    letters = {enclosed(seed, 6, kind, False, afterwards, False, 1).bound for seed in range(20)}
    assert "C" in letters
    ends = enclosed(3, 6, "cluster", False, afterwards, False, 1)
    assert ends.bound in "ABC"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 8), scale=st.floats(0.25, 4))
def test_a_completed_cholesky_proves_what_it_says(seed, n, scale):
    """Bounds A and B on matrices that are definite by only about the rounding error."""
    rng = np.random.default_rng(seed)
    K = random_matrix(rng, n, "graded")
    truth, source = exact(K), as_source(K)
    smallest = float(torch.linalg.eigvalsh(K)[0])
    shift = smallest - scale * shortfall(K.diagonal()) / 2
    for afterwards in (False, True):
        bound = cholesky_bound(
            Shifted(source, shift), Panels.empty(n), lambda name: Stage(name, None),
            afterwards=afterwards,
        )  # fmt: skip
        assert bound is None or at_least(truth, bound)


def test_the_error_of_a_factor_is_bounded_from_any_factor():
    """B trusts no algorithm: a factor that was tampered with gives a weaker bound, still true."""
    K = prescribed(np.geomspace(1e-3, 1, 7))
    shifted, panels = Shifted(as_source(K), 0.0), Panels.empty(7)
    cholesky_bound(shifted, panels, lambda name: Stage(name, None))
    honest = factor_error(shifted, panels, Stage("", None))
    first = next(panel for _, panel in panels)
    first[3, 1] += 1e-4
    tampered = factor_error(shifted, panels, Stage("", None))
    assert honest < 1e-15
    L = torch.tril(first)
    assert tampered >= float(torch.linalg.matrix_norm(K - L @ L.T, 2)) > 1e-5
    assert tampered < 2 * float(torch.linalg.matrix_norm(K - L @ L.T))


def test_wrong_vectors_still_give_true_bounds():
    """An enclosure may be wide, never false, whatever the vectors are."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        K = random_matrix(rng, 6, "plain")
        truth = exact(K)
        X = torch.linalg.qr(torch.from_numpy(rng.normal(size=(6, 2))))[0]
        found = rayleigh(as_source(K), X)
        assert found is not None
        assert at_most(truth, found.upper)


def test_vectors_that_are_not_orthonormal_are_refused():
    K = prescribed(np.geomspace(1e-3, 1, 5))
    assert rayleigh(as_source(K), torch.ones(5, 2, dtype=torch.float64)) is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), span=st.integers(0, 40))
def test_accurate_products_are_within_their_error(seed, n, span):
    rng = np.random.default_rng(seed)
    A = torch.from_numpy(rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-span, 0, size=(n, n)))
    V = torch.from_numpy(rng.normal(size=(n, 2)) * 10.0 ** rng.uniform(-span, 0, size=(n, 1)))
    made = accurate_product(lambda i, j: A[i:j], n, V)
    rows, columns = exact(A), exact(V.T)
    high, low = exact(made.high), exact(made.low)
    for c in range(2):
        wrong = 0
        for i in range(n):
            true = sum(a * b for a, b in zip(rows[i], columns[c], strict=True))
            wrong += (true - high[i][c] - low[i][c]) ** 2
        assert wrong <= exact(made.error[c].reshape(1, 1))[0][0] ** 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_error_free_transformations_are_exact(seed):
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.normal(size=20) * 10.0 ** rng.uniform(-20, 20, 20)) for _ in "ab")
    x, y = exact(a.reshape(1, -1))[0], exact(b.reshape(1, -1))[0]
    for transform, combine in ((two_sum, lambda p, q: p + q), (two_product, lambda p, q: p * q)):
        high, low = (exact(t.reshape(1, -1))[0] for t in transform(a, b))
        assert all(h + e == combine(p, q) for h, e, p, q in zip(high, low, x, y, strict=True))
    parts = slices(a.reshape(4, 5), 20, 1)[:3]
    assert bool((sum(p.to(torch.float64) for p in parts) == a.reshape(4, 5)).all())
    total = float(sum((p * q for p, q in zip(x, y, strict=True)), start=0 * x[0]))
    assert exact_dot(a, b) == pytest.approx(total, rel=2**-51)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30), side=st.integers(1, 12), span=st.integers(0, 40))  # fmt: skip
def test_symmetric_products_are_within_their_error(seed, n, side, span):
    """Each block of the lower triangle is read once, the product is that of the mirrored matrix."""
    rng = np.random.default_rng(seed)
    A = torch.from_numpy(rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-span, 0, size=(n, n)))
    V = torch.from_numpy(rng.normal(size=(n, 2)) * 10.0 ** rng.uniform(-span, 0, size=(n, 1)))
    seen = torch.zeros(n, n, dtype=torch.int64)

    def block(i, i2, j, j2):
        seen[i:i2, j:j2] += 1
        return A[i:i2, j:j2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounding, "_SLICED", 4)
        made = symmetric_product(block, n, V, side)
    assert int(seen.max()) == 1
    K = torch.where(seen == 1, A, A.T)  # a block on the diagonal is read whole
    assert bool(((seen + seen.T) >= 1).all())
    rows, columns = exact(K), exact(V.T)
    high, low = exact(made.high), exact(made.low)
    for c in range(2):
        wrong = 0
        for i in range(n):
            true = sum(a * b for a, b in zip(rows[i], columns[c], strict=True))
            wrong += (true - high[i][c] - low[i][c]) ** 2
        assert wrong <= exact(made.error[c].reshape(1, 1))[0][0] ** 2


def test_a_symmetric_product_has_twice_the_digits():
    """Of a vector that the matrix nearly annihilates, as every lowest eigenvector."""
    n = 300
    K = prescribed(np.geomspace(1e-9, 1, n))
    v = torch.linalg.eigh(K)[1][:, :1]
    made = symmetric_product(lambda i, i2, j, j2: K[i:i2, j:j2], n, v, 64)
    column = exact(v.T)[0]
    true = [float(sum(a * b for a, b in zip(row, column, strict=True))) for row in exact(K)]
    wrong = torch.tensor(true, dtype=torch.float64) - made.high[:, 0]
    assert bool((wrong.abs() <= 2.0**-52 * made.high[:, 0].abs() + 2.0**-80).all())
    assert float(made.error[0]) <= 2.0**-70


def test_blocks_of_zeros_add_no_error():
    K = 1e-9 * torch.eye(40, dtype=torch.float64)
    v = torch.ones(40, 1, dtype=torch.float64)
    for made in (
        symmetric_product(lambda i, i2, j, j2: K[i:i2, j:j2], 40, v, 4),
        accurate_product(lambda i, j: (1e-9 * K)[i:j], 40, 0 * v),
    ):
        assert float(made.error[0]) <= 1e-9 * 2.0**-80


def test_the_blocks_of_a_pass_hold_whole_tiles():
    cpu = torch.device("cpu")
    assert block_side(1, cpu) == 960
    for grain in (7, 64, 480, 961, 5000):
        assert block_side(grain, cpu) % grain == 0


def test_a_factorisation_is_done_when_it_ends():
    told = []
    panels = Panels.empty(200)
    panels.fill(lambda i, i2, j, j2: torch.eye(200, dtype=torch.float64)[i:i2, j:j2], Stage("f", None))  # fmt: skip
    assert panels.factor(Stage("Cholesky", lambda p: told.append(p.done)))
    assert told[-1] == 1.0
    assert told == sorted(told)
