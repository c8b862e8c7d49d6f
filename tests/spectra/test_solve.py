"""(K + ridge·I) x = y against a dense solve, with bounds checked in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

import ntkscope as ntk
from ntkscope.spectra.solvers.pivoted import pivoted_preconditioner
from ntkscope.spectra.storage.source import as_source
from oracles.textbook import fractions
from spectra.matrices import prescribed

N = 300


def kernel(n=N, d=6):
    return ntk.limiting_kernel(
        ntk.Network([d, float("inf"), 1], "relu", parameterization="ntk"),
        ntk.data.sphere(n, d, seed=0),
    )


def right_side(n=N, c=2):
    return torch.randn(n, c, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("ridge", "room"), [(0.0, None), (1e-6, None), (1.0, None), (1.0, 1000.0)])
def test_it_is_the_dense_solution_within_its_bound(ridge, room):
    K, Y = kernel(), right_side()
    found = ntk.solve(K, Y, ridge=ridge, tol=1e-10, memory=room, floor=ntk.smallest_eigenvalue(K))
    A = K.dense() + ridge * torch.eye(N, dtype=torch.float64)
    exact = torch.linalg.solve(A, Y)
    slack = 100 * N * 2.0**-53 * float(torch.linalg.cond(A)) * float(exact.norm())
    assert found.converged
    assert found.bound is not None
    assert found.bound <= 1e-8 * float(Y.norm(dim=0).max()) / found.smallest
    assert float((found.x - exact).norm(dim=0).max()) <= found.bound + slack
    assert found.residual >= float((Y - A @ found.x).norm(dim=0).max()) * (1 - 1e-3) - 1e-13
    assert found.x.shape == Y.shape


def test_one_column_is_a_vector_and_the_record_is_plain():
    K, y = kernel(80), right_side(80)[:, 0]
    found = ntk.solve(K, y.tolist(), ridge=0.1)
    assert found.x.shape == (80,)
    assert found.smallest == 0.1  # a limiting kernel is positive semidefinite
    assert "λ_min(K + ridge·I) ≥ 0.1" in str(found)
    assert "x" not in found.to_dict()
    assert found.to_dict()["converged"] is True


def test_without_a_certificate_there_is_no_bound_and_it_says_so():
    K = prescribed(torch.linspace(1, 3, 60).tolist())
    found = ntk.solve(K, right_side(60), ridge=0.5)
    assert found.converged
    assert found.bound is None
    assert found.smallest is None
    assert "no bound" in str(found)
    least = ntk.smallest_eigenvalue(K)
    assert ntk.solve(K, right_side(60), ridge=0.5, floor=least).smallest <= least.lower + 0.5
    assert (
        ntk.solve(K, right_side(60), floor=ntk.smallest_eigenvalue(K, method="products")).bound
        is None
    )
    assert ntk.solve(K, right_side(60), floor=0.9).smallest <= 0.9


def test_a_streamed_floor_is_taken_where_it_is_proved():
    net, X = ntk.Network([64, 256, 256, 1]), ntk.data.load("sphere:N=150,d=64").X
    floor = ntk.streamed_bound(net, X)
    assert floor.proved
    found = ntk.solve(ntk.limiting_kernel(net, X), right_side(150), floor=floor)
    assert found.smallest == floor.lower or found.smallest == pytest.approx(floor.lower, rel=1e-12)
    tanh = ntk.Network([64, 256, 256, 1], "tanh")
    rough = ntk.streamed_bound(tanh, X)
    assert not rough.proved
    assert ntk.solve(ntk.limiting_kernel(tanh, X), right_side(150), floor=rough).smallest is None


def test_the_residual_is_at_least_the_exact_one():
    """Fractions: nothing of y − (K + ridge·I)x may round away, at any size of it."""
    K = prescribed((10.0 ** torch.linspace(-8, 0, 12)).tolist(), seed=3)
    y = right_side(12, 1)
    for tol in (1e-2, 1e-6, 1e-12):
        found = ntk.solve(K, y, ridge=1e-3, tol=tol, rank=0)
        x = fractions(found.x[:, 0])
        rows = [fractions(row) for row in (K + K.T) / 2]
        left = [
            a - sum((k * v for k, v in zip(row, x, strict=True)), Fraction(0)) - Fraction(1e-3) * v
            for a, row, v in zip(fractions(y[:, 0]), rows, x, strict=True)
        ]
        square = sum(v * v for v in left)
        assert square <= Fraction(found.residual) ** 2
        assert Fraction(found.residual) ** 2 <= 2 * square + Fraction(2) ** -80


def test_the_kernel_s_own_error_widens_residual_and_bound():
    """γ tr K·‖x‖, which no iteration can take away; whether it converged is of the kernel as read."""
    K, y = kernel(60), right_side(60)
    found = ntk.solve(K, y, ridge=1e-3, tol=1e-13)
    own = as_source(K).error * float(found.x.norm(dim=0).max())
    assert own > 1e-13 * float(y.norm(dim=0).max())
    assert found.converged
    assert own <= found.residual <= 3 * own
    assert (
        found.residual / found.smallest
        <= found.bound
        <= found.residual / found.smallest * (1 + 1e-9)
    )


def test_the_preconditioner_is_worth_its_columns():
    """A kernel of quickly falling eigenvalues: far fewer iterations than without."""
    K, y = kernel(d=3).dense(), right_side()[:, 0]
    plain = ntk.solve(K, y, ridge=1e-3, tol=1e-8, rank=0)
    found = ntk.solve(K, y, ridge=1e-3, tol=1e-8, rank=80)
    assert plain.converged
    assert found.converged
    assert found.iterations < plain.iterations / 2


def test_the_preconditioner_is_the_inverse_of_what_it_says():
    source = as_source(kernel(90))
    made = pivoted_preconditioner(source, 30, 0.1, seed=0)
    assert made.rank == 30
    P = made.vectors @ torch.diag(made.squares) @ made.vectors.T
    P = P + made.rest * torch.eye(90, dtype=torch.float64)
    B = right_side(90)
    assert torch.allclose(P @ made(B), B, rtol=0, atol=1e-9)
    # the part of the kernel that is left is positive semidefinite: it was taken off as by Cholesky
    left = source.block(0, 90, 0, 90) - (P - made.rest * torch.eye(90, dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(left)[0]) > -1e-9
    assert made.rest == pytest.approx(0.1 + float(left.trace()) / 90, rel=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 5, 40])
def test_kernels_of_low_rank_end_early(rank):
    F = right_side(60, 4)
    found = ntk.solve(F @ F.T, F @ torch.ones(4, 1, dtype=torch.float64), ridge=1e-3, rank=rank)
    assert found.converged


def test_stored_kernels_and_operators(tmp_path):
    K, Y = kernel(), right_side()
    kept = ntk.save_kernel(K, tmp_path / "k.zarr", tile=64)
    own = ntk.solve(K, Y, ridge=0.1)
    for form in (kept, K.to_scipy()):
        found = ntk.solve(form, Y, ridge=0.1, memory=1000.0)
        assert torch.allclose(found.x, own.x, rtol=0, atol=1e-6)
    assert ntk.solve(kept, Y, ridge=0.1, memory=1000.0).bound is not None


def test_bad_input_is_said():
    K, y = kernel(50), right_side(50)
    for wrong, words in (
        ({"y": right_side(49)}, "y has 49 rows, the kernel 50"), ({"ridge": -1.0}, "ridge must be"),
        ({"tol": 0.0}, "tol must be"), ({"rank": 51}, "rank must be"),
        ({"max_iterations": 0}, "max_iterations must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            ntk.solve(K, wrong.pop("y", y), **wrong)
    with pytest.raises(ValueError, match="not positive definite"):
        ntk.solve(prescribed([-1.0, *([1.0] * 20)]), right_side(21), rank=0)
    slow = ntk.solve(K, y, tol=1e-12, max_iterations=1, rank=0)
    assert not slow.converged
    assert "not converged" in str(slow)
