"""The floor and the ceiling around a certified λ_min, and the row sums against plain loops."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope._base.memory import NotEnoughMemoryError
from ntkscope.spectra import streamed


def _sphere(n, d, seed):
    X = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return X / X.norm(dim=1, keepdim=True)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 40), d=st.integers(2, 12), seed=st.integers(0, 2**31), depth=st.integers(2, 4),
    spread=st.sampled_from([0.0, 1.0]), activation=st.sampled_from(["relu", "abs", "tanh", "erf"]),
)  # fmt: skip
def test_holds_the_eigenvalue(n, d, seed, depth, spread, activation):
    net = ntk.Network([d, *[20] * (depth - 1), 1], activation)
    X = _sphere(n, d, seed)
    if net.activation.homogeneity == 1:
        X = X * torch.exp(spread * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed)))
    found = ntk.streamed_bound(net, X)
    truth = ntk.smallest_eigenvalue(ntk.limiting_kernel(net, X))
    assert found.lower <= truth.upper
    assert truth.lower <= found.upper
    assert found.pair[0] != found.pair[1]


def test_says_much_on_a_sphere():
    X = _sphere(600, 30, 0)
    net = ntk.Network([30, 100, 100, 1])
    found = ntk.streamed_bound(net, X)
    truth = ntk.smallest_eigenvalue(ntk.limiting_kernel(net, X)).value
    assert 0.5 * truth < found.lower < truth < found.upper
    assert found.proved
    measured = ntk.streamed_bound(net, X, measure=(2, 3))
    assert found.lower < measured.lower < truth


def test_row_sums_cover_the_exact_ones():
    """Across tiles, with a closest pair: Σ_{j≠i} |ρ_ij|^k of the rounded rows' exact correlations."""
    X = _sphere(530, 3, 1)
    X[500] = X[7]
    X[500, 0] *= 1 + 1e-9
    found = ntk.streamed_bound(ntk.Network([3, 10, 1]), X, degree=20)
    assert set(found.pair) == {7, 500}
    a = X.numpy().astype(np.longdouble)
    a /= np.sqrt((a * a).sum(1, keepdims=True))
    sizes = np.abs(a @ a.T)
    np.fill_diagonal(sizes, 0)
    for rows in found.powers:
        exact = float((sizes**rows.power).sum(1).max())
        assert exact <= rows.row_sum <= exact * (1 + 1e-10)
        assert rows.floor == max(0.0, 1.0 - rows.row_sum)


def test_roundings_of_a_row_sum_are_counted():
    """Two nearly orthogonal rows: the product's rounding is large beside their correlation."""
    crossed = 0
    for seed in range(40):
        X = _sphere(2, 40, seed)
        X[1] -= (X[1] @ X[0] - 1e-4) * X[0]
        found = ntk.streamed_bound(ntk.Network([40, 4, 1]), X, degree=3)
        x, y = ([Fraction(v) for v in row.tolist()] for row in X)
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        cosine_sq = dot**2 / (sum(a * a for a in x) * sum(b * b for b in y))
        assert Fraction(found.powers[0].row_sum) ** 2 >= cosine_sq
        plain = Fraction(abs(found.correlation)) * (1 + Fraction(2) ** -49)
        crossed += plain**2 < cosine_sq
    assert crossed  # without the product's rounding, roundings of the sum alone are too few


def test_duplicated_rows_have_no_floor():
    X = _sphere(20, 4, 2)
    X[3] = X[11]
    found = ntk.streamed_bound(ntk.Network([4, 50, 1]), X)
    assert found.lower == 0.0
    assert found.upper <= 1e-10
    assert "says nothing" in str(found)


def test_bad_input(monkeypatch):
    net = ntk.Network([3, 8, 1])
    X = _sphere(5, 3, 0)
    with pytest.raises(ValueError, match="needs two samples"):
        ntk.streamed_bound(net, X[:1])
    with pytest.raises(ValueError, match="drop rows of zeros"):
        ntk.streamed_bound(net, torch.cat([X, torch.zeros(1, 3)]))
    with pytest.raises(ValueError, match="features, the network takes"):
        ntk.streamed_bound(net, X[:, :2])
    with pytest.raises(ValueError, match="scale the rows to one norm"):
        ntk.streamed_bound(ntk.Network([3, 8, 1], "tanh"), X * torch.arange(1.0, 6.0)[:, None])
    with pytest.raises(ValueError, match="measure names powers"):
        ntk.streamed_bound(net, X, measure=(0,))
    monkeypatch.setattr(streamed.memory, "available", lambda: 100)
    with pytest.raises(NotEnoughMemoryError, match="row sums"):
        ntk.streamed_bound(net, X)
