"""A ⪰ B: certificates and witnesses, against exact rational arithmetic."""

import builtins
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 7), shift=st.floats(-1, 1), exponent=st.integers(-18, 0),
       seed=st.integers(0, 999))  # fmt: skip
def test_decisions_agree_with_rational_arithmetic(n, shift, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    spectrum = torch.rand(n, generator=generator).double() + 0.5
    spectrum[0] = shift * 10.0**exponent
    D = (Q * spectrum) @ Q.T
    B = torch.randn(n, n, generator=generator).double()
    B = B @ B.T
    A = B + (D + D.T) / 2
    A, B = torch.triu(A) + torch.triu(A, 1).T, torch.triu(B) + torch.triu(B, 1).T
    difference = [[Fraction(float(A[i, j])) - Fraction(float(B[i, j])) for j in range(n)]
                  for i in range(n)]  # fmt: skip
    found = ntk.certify_loewner(A, B)
    if found.dominates:
        M = [row[:] for row in difference]
        for k in range(n):  # ⪰: pivots ≥ 0 suffices where none is 0
            assert M[k][k] > 0
            for i in range(k + 1, n):
                factor = M[i][k] / M[k][k]
                M[i] = [x - factor * y for x, y in zip(M[i], M[k], strict=True)]
    if found.dominates is False:
        v = [Fraction(float(x)) for x in found.witness]
        form = sum(v[i] * difference[i][j] * v[j] for i in range(n) for j in range(n))
        assert form < 0
        low, high = found.witness_value
        assert Fraction(low) <= form / sum(x * x for x in v) <= Fraction(high)
    if abs(float(spectrum[0])) > 1e-12 and found.dominates is None:
        pytest.fail(f"left open at λ = {float(spectrum[0])}")


def test_singular_difference_is_open():
    A = torch.eye(4).double()
    assert ntk.certify_loewner(A, A).dominates is None
    assert not ntk.certify_loewner(A, A)


def test_kernels_dominate_their_terms_and_not_the_reverse():
    model = ntk.Network([6, 40, 30, 1], "tanh", "bombari2022").sample(0)
    X = ntk.data.gaussian(12, 6, seed=0)
    K = ntk.empirical_ntk(model, X)
    assert ntk.certify_loewner(K, K.term(1)).dominates is True
    reverse = ntk.certify_loewner(K.term(1), K)
    assert reverse.dominates is False
    D = (K.term(1).dense() - K.dense()).numpy()
    v = reverse.witness.numpy()
    low, high = reverse.witness_value
    assert low <= high < 0
    assert (v @ D @ v) / (v @ v) == pytest.approx(low, rel=1e-9)


def test_missing_flint_is_said(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "flint":
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert ntk.certify_loewner(np.eye(3)).dominates  # a certificate needs no balls
    with pytest.raises(ImportError, match=r"ntkscope\[exact\]"):
        ntk.certify_loewner(-np.eye(3))


def test_bad_input():
    with pytest.raises(ValueError, match="square"):
        ntk.certify_loewner(np.ones((2, 3)))
    with pytest.raises(ValueError, match="one shape"):
        ntk.certify_loewner(np.eye(2), np.eye(3))
