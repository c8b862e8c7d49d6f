"""Bounds and consequences that an inspection prints, on cases where a weaker one would be wrong."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.inspection import layers as parts
from ntkscope.inspection.meaning import _steps, training
from ntkscope.inspection.shares import rayleigh, share, trace_error
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.matrix import MatrixKernel
from oracles.inertia import at_least, exact_kernel
from oracles.textbook import U


def eigenvalue(value, bar=0.0):
    return ntk.Eigenvalue(value, value - bar, value + bar, ntk.Status.OK, "", "", 0.0)


def kernel(*rows, name="W_1"):
    return Term(name, Factor.symmetric(torch.tensor(rows, dtype=torch.float64)), None)


def test_the_stable_step_is_on_the_safe_side():
    t = training(eigenvalue(0.1, 0.05), eigenvalue(3.0, 0.5), 10)
    assert Fraction(t.largest_stable_step) <= 2 / Fraction(3.5)
    assert Fraction(t.largest_stable_step) + Fraction(t.largest_stable_step_error) >= 2 / Fraction(
        2.5
    )
    assert t.largest_stable_step_mse == pytest.approx(5 * 2 / 3.5)
    low, error = Fraction(t.largest_stable_step_mse), Fraction(t.largest_stable_step_mse_error)
    assert low <= 10 / Fraction(3.5)
    assert low + error >= 10 / Fraction(2.5)
    assert error < Fraction(6, 5)
    assert t.best_step_mse - t.best_step_mse_error <= 10 / 3.65
    assert t.best_step_mse + t.best_step_mse_error >= 10 / 2.55
    assert t.best_step - t.best_step_error <= 2 / 3.65
    assert t.best_step + t.best_step_error >= 2 / 2.55
    unknown = training(None, eigenvalue(3.0, 0.5), 10, mean=1.0)
    assert unknown.best_step - unknown.best_step_error <= 2 / 4.5
    assert unknown.steps["1/λ_max"]["1e+03"] is None
    few, many = t.steps["1/λ_max"]["1e+06"]
    for low, high in ((0.05, 3.5), (0.15, 2.5), (0.1, 3.0)):
        assert few <= _steps("1/λ_max", low, high, 1e6) <= many


@pytest.mark.parametrize("rate", ["1/λ_max", "2/(λ_max + λ_min)"])
@pytest.mark.parametrize("low", [0.5, 0.9, 0.01])
def test_steps_are_counted_by_running_them(rate, low):
    """diag(low, 1): the slower of two modes, step by step."""
    step = 1.0 if rate == "1/λ_max" else 2 / (1 + low)
    slowest = max(abs(1 - step * low), abs(1 - step))
    count, loss = 0, 1.0
    while loss > 1e-6:
        loss *= slowest**2
        count += 1
    assert abs(_steps(rate, low, 1.0, 1e6) - count) <= 1


def test_the_closest_pair_bounds_from_above_and_is_attained():
    """[[2, 1], [1, 3]]: λ_min = (5 − √5)/2, the radius √(¼ + 1)."""
    M = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    K = MatrixKernel(M)
    bound = parts._pair_bound(K, K.diagonal(), 0.0)
    assert bound == pytest.approx((5 - math.sqrt(5)) / 2, rel=1e-14)
    gamma = 2.0**-20
    wide = parts._pair_bound(K, K.diagonal(), gamma)
    # the two diagonal entries and the off-diagonal one may each be γ√(K_ii K_jj) off
    E = torch.tensor([[2.0, -math.sqrt(6)], [-math.sqrt(6), 3.0]], dtype=torch.float64)
    assert wide >= float(torch.linalg.eigvalsh(M[:2, :2] + gamma * E)[0])


def test_features_have_their_lower_end():
    """F of a small λ_min(FFᵀ): its interval has a width, and the Schur bound takes the lower end."""
    F = torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    F[1] = F[0] + 2.0**-14 * F[1]
    term = Term("W_1", Factor.symmetric(F), None)
    K = HadamardKernel([term])
    found = ntk.smallest_eigenvalue(K)
    assert found.upper > found.lower > 0
    lower = parts._features_lower(term, 12)
    assert at_least(exact_kernel(K), lower)
    assert not at_least(exact_kernel(K), found.upper)
    signals = Term("W_1", None, Factor.symmetric(torch.tensor([[3.0, 4.0]], dtype=torch.float64)))
    least = Fraction(parts._signals_min(signals))
    assert 25 * (1 - 20 * U) <= least <= 25 * (1 - 3 * U)


def test_shares_of_the_trace_and_of_outputs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        model[2].weight[1] *= 3
    X = ntk.data.gaussian(6, 3, seed=0)
    found = ntk.inspect(model, X)
    traces = [float(ntk.empirical_ntk(model, X, reduce=c).dense().trace()) for c in (0, 1)]
    for output, trace in zip(found.outputs, traces, strict=True):
        assert abs(output.trace - trace) <= output.trace_error + 1e-14 * trace
        assert 0 < output.trace_share_error < 1e-12
        assert output.trace_share == pytest.approx(trace / sum(traces), rel=1e-10)
        K = ntk.empirical_ntk(model, X, reduce=output.index).dense()
        top = float(torch.linalg.eigvalsh(K)[-1])
        assert abs(output.largest - top) <= output.largest_error + 1e-14 * top
        assert output.largest_error > 0
    assert found.outputs[0].trace_share != pytest.approx(0.5, abs=0.05)


def test_parts_of_the_kernel_carry_errors():
    """Each term's trace, Rayleigh quotient and share against rational arithmetic."""
    factors = ([1.0, 0.3], [0.2, 2.0]), ([0.1, 0.7], [0.4, 0.1])
    K = HadamardKernel([kernel(*rows, name=f"W_{i}") for i, rows in enumerate(factors)])
    found = ntk.inspect(K)
    vector = [Fraction(x) for x in found.smallest.vector.tolist()]
    exact = [[[Fraction(x) for x in row] for row in rows] for rows in factors]
    traces = [sum(x * x for row in rows for x in row) for rows in exact]
    quotients = [
        sum(sum(v * row[j] for v, row in zip(vector, rows, strict=True)) ** 2 for j in range(2))
        for rows in exact
    ]
    for layer, trace, quotient in zip(found.layers, traces, quotients, strict=True):
        for value, error, true in (
            (layer.trace, layer.trace_error, trace),
            (layer.trace_share, layer.trace_share_error, trace / sum(traces)),
            (layer.rayleigh, layer.rayleigh_error, quotient),
            (layer.rayleigh_share, layer.rayleigh_share_error, quotient / sum(quotients)),
        ):
            assert abs(Fraction(value) - true) <= Fraction(error)
            assert error < 1e-13


def test_shares_of_what_rounding_hides_are_unknown():
    X = ntk.data.gaussian(6, 3, seed=0)
    X[1] = X[0]
    found = ntk.inspect(ntk.Network([3, 8, 1]), X)
    assert all(layer.rayleigh_share_error == math.inf for layer in found.layers)
    assert all(layer.trace_share_error < 1e-12 for layer in found.layers)
    assert "—" in str(found)
    assert share(1.0, 0.25, 4.0, 1.0) == pytest.approx((0.25, 0.5 / 3))
    assert share(1.0, 0.0, 1.0, 1.0)[1] == math.inf
    # a kernel that is not semidefinite: |K_ij| may exceed the diagonal
    K = MatrixKernel(torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64))
    value, error = rayleigh(K, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert value == 0
    assert error >= 2 * 4 * U * 3


def test_trace_and_condition_number_carry_errors():
    K = HadamardKernel([kernel([1.0, 0.3], [0.2, 2.0])])
    found = ntk.inspect(K)
    true = sum((Fraction(x) ** 2 for x in (1.0, 0.3, 0.2, 2.0)), Fraction(0))
    assert abs(Fraction(found.trace) - true) <= Fraction(found.trace_error)
    assert trace_error(K) >= (K.entry_error() + 2 * 2.0**-53) * found.trace * (1 - 1e-9)
    assert found.condition_number.lower < found.condition_number.upper < math.inf
    assert found.largest.lower <= found.largest.value <= found.largest.upper
    text = str(found)
    assert "tr K" in text
    assert text.count("±") >= 4
