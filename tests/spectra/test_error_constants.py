"""The constants of the certificates: fractions, on cases built so that a smaller one is wrong."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.spectra import singular
from ntkscope.spectra.extremes import ConditionNumber
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof import certify
from ntkscope.spectra.proof.certify import (
    Rayleigh,
    Shifted,
    cholesky_bound,
    factor_error,
    lehmann,
    rayleigh,
)
from ntkscope.spectra.rounding import (
    accurate_product,
    down_to,
    gamma,
    slice_bits,
    symmetric_product,
    up,
    up_to,
)
from ntkscope.spectra.solvers.dense import Engine
from ntkscope.spectra.storage.panels import Panels, shortfall
from ntkscope.spectra.storage.source import as_source
from oracles import textbook
from oracles.inertia import at_least, at_most, count_below, exact
from oracles.textbook import U, fractions


def stage(name):
    return Stage(name, None)


def tensor(rows):
    return torch.as_tensor(np.asarray(rows, dtype=np.float64))


def found_of(theta, residual, error=0.0):
    values, errors = list(np.atleast_1d(theta)), list(np.atleast_1d(error))
    return Rayleigh(values, errors * (len(values) // len(errors)), values[0], residual,
                    [residual], list(range(len(values))))  # fmt: skip


# -- Lehmann ------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [(0.8, 0.6), (1.0, 2.0**-20), (0.7, 0.3)])
def test_temple_is_an_equality_for_two_eigenvalues(x):
    """diag(¼, 1) and any vector: the bound is λ_1 = ¼ itself, to the digits of the residual."""
    found = rayleigh(as_source(tensor([[0.25, 0], [0, 1]])), tensor([x]).T)
    if found is None:  # (0.7, 0.3) is too far from a unit vector
        assert x == (0.7, 0.3)
        return
    (bound,) = lehmann(found, 1.0)
    assert Fraction(1, 4) - Fraction(1, 10**13) < Fraction(bound) <= Fraction(1, 4)


@pytest.mark.parametrize("error", [0.0, 2.0**-7])
@pytest.mark.parametrize("own", [0.0, 2.0**-9])
def test_every_error_in_lehmann_s_bound_is_needed(error, own):
    """A matrix read twice, once −error and once +error away, and a Ritz value that is too high.

    The one behind the vector has the eigenvalues 0 and 1, so λ_1 spoken of may be −error, and the
    one behind ν may have λ_2 = 1 + 2·error. With the true Ritz value θ = ¼ (residual² = 3/16) all
    bounds are equalities; the computed one is ``own`` higher.
    """
    theta, residual = 0.25, math.sqrt(3 / 16)
    (bound,) = lehmann(found_of(theta + own, residual, own), 1.0 + 2 * error, error)
    true = -Fraction(error)
    if own == 0:
        assert true - Fraction(1, 10**14) < Fraction(bound) <= true
    else:  # the gap is measured from θ + 2·own: its exact value, and no more
        gap = Fraction(3, 4) - 2 * Fraction(own)
        formula = Fraction(1, 4) - Fraction(3, 16) / gap - Fraction(error)
        assert formula - Fraction(1, 10**14) < Fraction(bound) <= formula < true


def test_lehmann_needs_a_gap_beyond_the_errors():
    assert lehmann(found_of(0.25, 0.1), 0.25) is None
    assert lehmann(found_of(0.25, 0.1, 0.01), 0.26) is None
    assert lehmann(found_of(0.25, 0.1), 0.27, 0.01) is None
    assert lehmann(found_of(0.25, 0.1), 0.2701, 0.01) is not None


# -- Cholesky -----------------------------------------------------------------------------------


def swallowing(small: int, large: int) -> torch.Tensor:
    """A matrix that is indefinite by almost the whole of ``shortfall`` and whose Cholesky completes.

    ``small`` columns of tiny pivots take u from every entry of the last ``large`` rows, with signs
    that alternate, and float64 sees none of it: there the reduced matrix is a·11ᵀ + 2u·diag(0, 1, 1, …)
    before and after, while the exact one has lost small·u·ssᵀ, s ⟂ 1. a is a square just above 1.
    """
    n, tiny = small + large, 2.0**-36
    A = torch.zeros(n, n, dtype=torch.float64)
    A[range(small), range(small)] = tiny
    signs = torch.tensor([1.0, -1.0] * large, dtype=torch.float64)[:large]
    A[small:, :small] = signs[:, None] * math.sqrt(0.999 * float(U)) * math.sqrt(tiny)
    A[small:, small:] = (1 + 2.0**-20) ** 2
    A[range(small + 1, n), range(small + 1, n)] += 2 * float(U)
    return torch.tril(A) + torch.tril(A, -1).T


def test_the_shortfall_of_cholesky_is_almost_reached():
    A = swallowing(120, 4)
    assert textbook.cholesky(A.tolist()) is not None
    c = shortfall(A.diagonal())
    assert at_least(exact(A), -c)
    assert not at_least(exact(A), -0.9 * c)


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_the_shortfall_is_its_formula(n):
    """Σ_j γ_{j+4}/(1 − γ_{j+4}) a_jj: j + 1 operations, three more for reciprocal pivots."""
    d = torch.rand(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    count = [textbook.gamma(j + 4) / (1 - textbook.gamma(j + 4)) for j in range(1, n + 1)]
    formula = sum(c * a for c, a in zip(count, fractions(d), strict=True))
    assert formula <= Fraction(shortfall(d)) <= formula * (1 + Fraction(1, 2**40))
    underflow = 6 * n * n * Fraction(2.0**-1022)
    assert Fraction(shortfall(torch.zeros(n, dtype=torch.float64))) >= underflow


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_shifted_diagonal_is_rounded_down(sign):
    rng = torch.Generator().manual_seed(3)
    K = torch.diag(torch.rand(64, generator=rng, dtype=torch.float64))
    shifted = Shifted(as_source(K), 0.3, sign)
    for got, k in zip(shifted.block(0, 64, 0, 64).diagonal(), K.diagonal(), strict=True):
        target = int(sign) * Fraction(float(k)) - Fraction(0.3)
        assert target - 4 * U <= Fraction(float(got)) <= target


def test_adding_the_deflation_is_within_its_error():
    """n = 1 and a sum that swallows all but its first term: the entry is wrong by (k − 1)u."""
    worst = Fraction(0)
    for k in (1, 8, 40):
        X, sigma = tensor([textbook.lost(k)]), 1.0
        shifted = Shifted(as_source(tensor([[2.0**-60]])), 0.0, 1.0, (X, sigma))
        panels = Panels.empty(1)
        panels.fill(shifted.block, stage("forming"))
        true = Fraction(2.0**-60) + sum(x * x for x in fractions(X[0]))
        # what torch's product gives, and what the loop gives that the bound also allows
        bound, loop = (
            shifted.rounding(panels.frobenius()),
            textbook.dot(X[0].tolist(), X[0].tolist()),
        )
        for made in (float(panels.diagonal()[0]), loop + 2.0**-60):
            assert abs(Fraction(made) - true) <= Fraction(bound)
            worst = max(worst, abs(Fraction(made) - true) / Fraction(bound))
        mass = sum(x * x for x in fractions(X[0]))
        formula = 2 * U * mass + textbook.gamma(k + 4) * mass
        assert formula <= Fraction(bound) <= formula * Fraction(3, 2)
    assert worst > Fraction(8, 10)


def test_the_deflation_s_error_counts_the_matrix_and_its_shift():
    """2u‖A‖_F, A as filled with its shift put back: both halves of A, every entry."""
    K = tensor([[3.0, 1.0, 2.0], [1.0, 5.0, 1.0], [2.0, 1.0, 7.0]])
    X, sigma, shift = torch.zeros(3, 1, dtype=torch.float64), 1.0, 2.0
    shifted = Shifted(as_source(K), shift, 1.0, (X, sigma))
    panels = Panels.empty(3)
    panels.fill(shifted.block, stage("forming"))
    bound = shifted.rounding(panels.frobenius())
    assert bound >= 2 * 2.0**-53 * float(torch.linalg.matrix_norm(K))
    assert bound >= 2 * 2.0**-53 * shift * math.sqrt(3)
    n = 260  # panels of 64 columns: most of the entries stand below the diagonal alone
    ones, nothing = torch.ones(n, n, dtype=torch.float64), torch.zeros(n, 1, dtype=torch.float64)
    shifted, panels = Shifted(as_source(ones), 0.0, 1.0, (nothing, 1.0)), Panels.empty(n)
    panels.fill(shifted.block, stage("forming"))
    assert shifted.rounding(panels.frobenius()) >= 2 * 2.0**-53 * n


def test_a_factor_s_error_is_bounded_where_its_residual_rounds_away():
    """L = [1; ε…]: the residual of A = fl(LLᵀ) is exactly known; B must not report less."""
    rng = np.random.default_rng(0)
    for n in (3, 9, 70):
        F = rng.normal(size=(n, n + 2)) * 10.0 ** rng.uniform(-8, 0, size=(n, 1))
        K = torch.from_numpy(F @ F.T)
        K = torch.tril(K) + torch.tril(K, -1).T
        shifted, panels = Shifted(as_source(K), 0.0), Panels.empty(n)
        assert cholesky_bound(shifted, panels, stage) is not None
        bound = factor_error(shifted, panels, stage(""))
        L = torch.zeros(n, n, dtype=torch.float64)
        for j, panel in panels:
            L[j:, j : j + panel.shape[1]] = panel
        rows = exact(torch.tril(L))
        wrong = sum(
            (a - sum((x * y for x, y in zip(rows[i], rows[j], strict=True)), 0 * a)) ** 2
            for i, row in enumerate(exact(K))
            for j, a in enumerate(row)
        )
        assert wrong <= exact(tensor([[bound]]))[0][0] ** 2
        assert exact(tensor([[bound]]))[0][0] ** 2 <= 2 * wrong


# -- Rayleigh -----------------------------------------------------------------------------------


def test_a_ritz_value_carries_the_error_of_the_products():
    """xᵀKx known to ± lost only: h may be off by it, alone or through what stands off the diagonal."""
    one = np.array([[1.0]])
    assert certify._ritz_error(one, one, 0, 1e-3, 0.0) >= 1e-3
    gram = np.eye(2)
    for b, lost in ((0.0, 1e-3), (0.05, 1e-3), (0.05, 0.0), (0.3, 0.01)):
        M = np.array([[0.0, b], [b, 1.0]])
        got = certify._ritz_error(M, gram, 0, lost, 0.0)
        worst = max(
            abs(np.linalg.eigvalsh(M + lost * np.array(E))[0])
            for E in ([[1, 0], [0, 1]], [[-1, 0], [0, -1]], [[0, 1], [1, 0]],
                      [[-0.8, 0.6], [0.6, 0.8]])
        )  # fmt: skip
        assert worst <= got <= 3 * worst + 1e-14


def test_a_skewed_gram_matrix_widens_the_ritz_value():
    """The pencil's metric may be 1 − skew where it counts, so the bound grows by 1/(1 − skew)."""
    skew, b = 0.4, 0.05
    gram = np.diag([1 - skew, 1 + skew])
    M = np.array([[0.0, b], [b, 1.0 + skew]])
    h = np.linalg.eigvals(np.linalg.solve(gram, M)).real.min()
    got = certify._ritz_error(M, gram, 0, 0.0, skew)
    assert abs(h) <= got
    first = certify._ritz_error(np.array([[1.0]]), np.array([[1 - skew]]), 0, 1e-3, skew)
    assert first >= 1e-3 / (1 - skew)


def test_the_residual_is_that_of_an_orthonormal_basis():
    """‖KQ − QH‖ of a vector of length √(1 − skew) is 1/√(1 − skew) of its own residual."""
    x = tensor([[0.8 * 0.8, 0.8 * 0.6]]).T
    found = rayleigh(as_source(tensor([[0.25, 0], [0, 1]])), x)
    true = Fraction(48, 100) * Fraction(3, 4)  # sin·cos·(λ_2 − λ_1)
    assert true - Fraction(1, 10**15) <= Fraction(found.residual)
    assert abs(Fraction(found.values[0]) - Fraction(52, 100)) <= 8 * U
    (bound,) = lehmann(found, 1.0)
    assert Fraction(bound) <= Fraction(1, 4)


def test_the_upper_bound_is_not_below_the_smallest_eigenvalue():
    """x an eigenvector: the quotient is λ_min itself, and rounding may not take it lower."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        a, b = rng.normal(size=2)
        K = tensor([[a, b], [b, a]])  # eigenvectors (1, ±1)
        x = tensor([[1.0, -1.0 if b > 0 else 1.0]]).T * math.sqrt(0.5)
        found = rayleigh(as_source(K), x)
        true = Fraction(a) - abs(Fraction(b))
        assert Fraction(found.upper) >= true
        assert Fraction(found.values[0]) + Fraction(found.errors[0]) >= true
        assert Fraction(found.values[0]) - Fraction(found.errors[0]) <= true


def test_an_eigenvalue_that_the_error_of_the_kernel_may_lower_or_raise():
    """A matrix read ± error: both ends of the interval must make room for it."""
    source = as_source(tensor([[1.0, 0], [0, 2.0]]))
    source.error = 2.0**-10
    ends = Engine(source, Panels.empty(2)).enclose(Engine(source, Panels.empty(2)).pairs(1), 1,
                                                   certify=True)  # fmt: skip
    assert Fraction(ends.lower[0]) <= 1 - Fraction(2.0**-10)
    assert Fraction(ends.upper[0]) >= 1 + Fraction(2.0**-10)


# -- products in twice the digits ------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 30, 1000, 4096])
def test_accurate_products_count_their_terms(n):
    """γ_{n+4} · n · 1.5 · 2^(−2 bits): of n last slices, each full of digits, at most 3·2^(−2 bits)/2
    of the scale; the sum of them loses n roundings."""
    low = 2.0 ** (-2 * slice_bits(n) - 1)
    rng = np.random.default_rng(0)
    V = rng.uniform(0.9, 1.0, n) * low
    V[0] = 1.0
    made = accurate_product(lambda i, j: torch.ones(j - i, n, dtype=torch.float64), n,
                            tensor(V)[:, None], n_rows=1)  # fmt: skip
    true = sum(fractions(V))
    got = Fraction(float(made.high[0, 0])) + Fraction(float(made.low[0, 0]))
    assert abs(got - true) <= Fraction(float(made.error[0]))
    # the order that the bound allows and that loses most
    loop = 0.0
    for v in V[1:]:
        loop += v
    assert abs(Fraction(loop) - sum(fractions(V[1:]))) <= Fraction(float(made.error[0]))
    entry = textbook.gamma(n + 4) * n * Fraction(3, 2) * Fraction(2.0 ** (-2 * slice_bits(n)))
    assert Fraction(float(made.error[0])) >= entry


@pytest.mark.parametrize("side", [1, 30, 200])
def test_symmetric_products_count_their_blocks(side):
    """The same for each block of a row, with the block's terms in place of n."""
    n = 200
    made = symmetric_product(lambda i, i2, j, j2: torch.ones(i2 - i, j2 - j, dtype=torch.float64),
                             n, torch.ones(n, 1, dtype=torch.float64), side)  # fmt: skip
    share = textbook.gamma(side + 4) * side * Fraction(3, 2) * Fraction(2.0 ** (-2 * slice_bits(side)))  # fmt: skip
    blocks = -(-n // side)
    assert Fraction(float(made.error[0])) ** 2 >= n * (blocks * share) ** 2


def test_slices_are_summed_without_rounding():
    """n products of two slices stay below 2⁵³ steps of their grid; with one bit more they do not."""
    for n in (2, 3, 4, 1000, 1024, 1025):
        bits = slice_bits(n)
        assert n * (2**bits) ** 2 <= 2**53
        assert n * (2 ** (bits + 1)) ** 2 > 2**53


# -- rounding outwards ----------------------------------------------------------------------------


def test_bounds_are_rounded_outwards():
    rng = np.random.default_rng(2)
    for a, b in rng.normal(size=(200, 2)):
        assert Fraction(down_to(a + b)) < Fraction(a) + Fraction(b) < Fraction(up_to(a + b))
    for _ in range(50):
        terms = rng.random(40)
        total = 0.0
        for t in terms:
            total += t * t
        assert Fraction(up(total)) >= sum(Fraction(t) ** 2 for t in terms)
    for n in (1, 5, 1000, 10**7):
        assert textbook.gamma(n) <= Fraction(gamma(n)) <= textbook.gamma(n) * (1 + U * 2**8)


# -- the forming of a kernel -----------------------------------------------------------------------


def kernel_of(f, b, scale=1.0):
    return HadamardKernel([Term("t", Factor.symmetric(tensor([f])), Factor.symmetric(tensor([b])),
                                scale)])  # fmt: skip


def test_the_forming_error_is_reached_by_a_plain_loop():
    """Sums that swallow all but their first term: an entry is wrong by (d_F + d_B − 2)u of itself."""
    f, b = textbook.lost(60), textbook.lost(40)
    true = sum(x * x for x in fractions(f)) * sum(x * x for x in fractions(b))
    made = textbook.dot(f, f) * textbook.dot(b, b)
    kernel = kernel_of(f, b)
    bound = Fraction(kernel.forming_error())
    assert Fraction(9, 10) * bound < abs(Fraction(made) - true) <= bound
    assert abs(Fraction(float(kernel.dense()[0, 0])) - true) <= bound
    assert textbook.gamma(102) <= Fraction(kernel.entry_error()) * (1 + U * 4)


def test_single_products_nearly_reach_it_too():
    rng = np.random.default_rng(4)
    worst = 0
    for f, b in rng.uniform(1, 2, size=(300, 2)):
        kernel = kernel_of([f], [b])
        true = Fraction(f) ** 2 * Fraction(b) ** 2
        error = abs(Fraction(float(kernel.dense()[0, 0])) - true)
        assert error <= Fraction(kernel.forming_error())
        worst = max(worst, error / Fraction(kernel.forming_error()))
    assert worst > Fraction(1, 2)


def test_terms_of_both_signs_are_bounded_by_their_sizes():
    """1 − (1 − 2⁻²⁰): the difference is small, its error is that of the parts."""
    a, c = 1.0, math.sqrt(1 - 2.0**-20)
    terms = [Term(n, Factor.symmetric(tensor([[x]])), None, s)
             for n, x, s in (("p", a, 1.0), ("m", c, -1.0))]  # fmt: skip
    kernel = HadamardKernel(terms)
    size = Fraction(a) ** 2 + Fraction(c) ** 2
    assert Fraction(kernel.forming_error()) >= textbook.gamma(1 + 2 + 1) * size * (1 - 8 * U)
    true = Fraction(a) ** 2 - Fraction(c) ** 2
    assert Fraction(kernel.entry_error()) * true >= textbook.gamma(4) * size * (1 - 2**12 * U)
    loop = a * a - c * c
    assert abs(Fraction(loop) - true) <= Fraction(kernel.forming_error())


# -- the loops around them -------------------------------------------------------------------------


def test_counts_and_signs_of_the_twin():
    K = exact(tensor([[2.0, 1.0], [1.0, 2.0]]))
    assert at_least(K, 1.0)
    assert not at_least(K, 1.0 + 2.0**-52)
    assert at_most(K, 1.0)
    assert count_below(K, 2.0) is None or count_below(K, 2.5) == 1


def test_a_completed_factorisation_proves_no_more_than_it_may():
    """A matrix of one row: shift − shortfall − what adding the deflation cost, to the last digit."""
    for deflation in (None, (tensor([[0.5, 0.5]]), 1.0)):
        shifted, panels = Shifted(as_source(tensor([[1.0]])), 0.5, 1.0, deflation), Panels.empty(1)
        proved = cholesky_bound(shifted, panels, stage)
        filled = Panels.empty(1)
        filled.fill(shifted.block, stage("again"))
        taken = Fraction(shortfall(filled.diagonal())) + Fraction(
            shifted.rounding(filled.frobenius())
        )
        assert Fraction(0.5) - taken * (1 + 16 * U) - U <= Fraction(proved) <= Fraction(0.5) - taken


@pytest.mark.parametrize("width", [1, 40, 400])
def test_a_block_s_residual_is_bounded_with_its_terms_counted(width):
    """γ_{w+4} · w · 1.5 · 2^(−2 bits) of the scales, however exact the sums came out."""
    bits = slice_bits(width + 1)
    L = torch.ones(2, width, dtype=torch.float64)
    rows = certify.slices(L, bits, 1)
    _, bound = certify._difference(L @ L.T, rows, rows, width, bits)
    scales = sum(Fraction(float(s)) ** 2 for s in rows[3][:, 0])
    formula = (
        textbook.gamma(width + 4) * width * Fraction(3, 2) * Fraction(2.0 ** (-2 * bits)) * scales
    )
    assert formula <= Fraction(bound) <= formula * Fraction(11, 10)


def test_a_factorisation_ends_at_a_pivot_that_is_too_small():
    for A, least, completes in (
        ([[1.0, 0], [0, 2.0]], 0.0, True),
        ([[1.0, 0], [0, 2.0]], 1.5, False),
        ([[1.0, 1.0], [1.0, 1.0]], 0.0, False),
    ):
        panels = Panels.empty(2)
        panels.fill(lambda i, i2, j, j2, A=A: tensor(A)[i:i2, j:j2], stage(""))
        assert panels.factor(stage(""), least) is completes


def test_bound_a_makes_room_for_the_kernel_s_error():
    """I has no gap behind its first eigenvalue, so the shifted factorisation alone decides."""
    source = as_source(torch.eye(3, dtype=torch.float64))
    source.error = 2.0**-10
    engine = Engine(source, Panels.empty(3))
    ends = engine.enclose(engine.pairs(1), 1, certify=True)
    assert ends.bound == "A"
    assert 1 - Fraction(2.0**-9) < Fraction(ends.lower[0]) <= 1 - Fraction(2.0**-10)


def test_a_difference_is_rounded_and_its_interval_knows():
    """Each entry of A − B and of its symmetric part is rounded: 2u of the three matrices' norms."""
    A, B = tensor([[3.0, 0.5], [0.5, 4.0]]), tensor([[1.0, 0.25], [0.25, 1.0]])
    found, plain = ntk.certify_loewner(A, B), ntk.smallest_eigenvalue(A - B)
    norms = sum(float(torch.linalg.matrix_norm(M)) for M in (A, B, A - B))
    spent = 2 * U * Fraction(norms) * (1 - 8 * U)
    assert Fraction(found.lower) <= Fraction(plain.lower) - spent + 2 * U
    assert Fraction(found.upper) >= Fraction(plain.upper) + spent - 2 * U


def test_a_difference_of_kernels_has_the_errors_of_both():
    """Factors of 4000 columns: forming K costs far more than the difference of two matrices."""
    ones, halves = [1.0] * 4000, [0.5] * 3000
    left, right = kernel_of(ones, [1.0]), kernel_of(halves, [1.0])
    found = ntk.certify_loewner(left, right)
    assert right.forming_error() > 100 * 2 * 2.0**-53 * 9000
    forming = Fraction(left.forming_error()) + Fraction(right.forming_error())
    assert Fraction(found.lower) <= 4000 - 750 - forming
    assert Fraction(found.upper) >= 4000 - 750 + forming


def test_the_condition_number_lies_between_the_quotients_of_the_ends():
    def eigenvalue(value, bar):
        return ntk.Eigenvalue(value, value - bar, value + bar, ntk.Status.OK, "", "", 0.0)

    low, high = eigenvalue(0.1, 0.01), eigenvalue(3.0, 0.1)
    found = ConditionNumber.of(low, high)
    assert Fraction(found.upper) >= Fraction(high.upper) / Fraction(low.lower)
    assert Fraction(found.lower) <= Fraction(high.lower) / Fraction(low.upper)
    assert found.upper == pytest.approx(3.1 / 0.09)
    assert found.lower == pytest.approx(2.9 / 0.11)
    assert ConditionNumber.of(eigenvalue(0.1, 0.2), high).upper == math.inf


# -- singular values -------------------------------------------------------------------------------


def test_the_bound_of_a_singular_value_is_attained_by_a_scaled_inverse():
    """A = 1, X = ½: ‖(AX)ᵀAX − I‖ = ¾ and √(1 − ¾)/‖X‖ = 1 = σ_min, less a thousandth of the skew."""
    for x in (0.5, 0.75, 1.25):
        bound = Fraction(singular._lower_bound(tensor([[1.0]]), tensor([[x]])))
        assert bound <= 1
        if x < 1:
            assert bound >= 1 - Fraction(1, 400)


def test_a_plain_product_counts_its_terms():
    x = tensor([textbook.lost(60)])
    made, bound = singular._product(x, x.T)
    true = sum(v * v for v in fractions(x[0]))
    assert abs(Fraction(float(made)) - true) <= Fraction(bound)
    loop = textbook.dot(x[0].tolist(), x[0].tolist())
    assert Fraction(8, 10) * Fraction(bound) <= abs(Fraction(loop) - true) <= Fraction(bound)


def test_the_norm_above_is_above():
    for X in (tensor([[3.0, 0.0], [0.0, 4.0]]), tensor([[0.0, 2.0], [0.0, 0.0]])):
        top = max(abs(float(v)) for v in X.flatten())
        assert top <= singular._norm_above(X) <= top * (1 + 1e-6)
