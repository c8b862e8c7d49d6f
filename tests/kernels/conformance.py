"""What every kernel promises, held against a dense twin that another way made.

A kind joins by a :class:`Case` in ``test_conformance.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import ntkscope as ntk
from ntkscope.kernels.kernel import Kernel

EPS = 2.0**-52


@dataclass(frozen=True)
class Case:
    """A kernel, its matrix from elsewhere, and the diagonals k(x, x) of its rows and columns."""

    kernel: Kernel
    twin: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def symmetric(cls, kernel: Kernel, twin: Tensor) -> Case:
        return cls(kernel, twin, twin.diagonal(), twin.diagonal())

    @property
    def scale(self) -> Tensor:
        """√(k(x_i, x_i) k(x_j, x_j)), what an entry's error is relative to."""
        return torch.sqrt(self.left[:, None] * self.right[None, :])

    @property
    def blur(self) -> float:
        """Relative error of the twins: sums of at most a few hundred products, a few layers deep."""
        return 500 * EPS


def agree(case: Case, got: Tensor, rows=slice(None), cols=slice(None), extra: float = 0.0) -> None:
    error = case.kernel.entry_error() + case.blur + extra
    assert got.shape == case.twin[rows][:, cols].shape
    off = (got - case.twin[rows][:, cols]).abs() - error * case.scale[rows][:, cols]
    assert float(off.max()) <= 0


class Conformance:
    """Inherited by a class with a ``case`` fixture."""

    def test_dense_is_the_twin(self, case):
        made = case.kernel.dense()
        assert made.shape == case.kernel.shape == case.twin.shape
        assert made.dtype == case.kernel.dtype == torch.float64
        assert made.device == case.kernel.device
        agree(case, made)
        assert len(case.kernel) == len(case.twin)
        assert case.kernel.nbytes_dense == made.numel() * 8

    def test_a_symmetric_kernel_is_so_in_each_bit_and_positive(self, case):
        if case.kernel.symmetric:
            made = case.kernel.dense()
            assert torch.equal(made, made.T)
            floor = len(made) * case.blur * float(case.left.max())
            assert float(torch.linalg.eigvalsh(made)[0]) > -floor
            assert case.kernel.T is case.kernel or torch.equal(case.kernel.T.dense(), made)

    def test_twice_the_same_bits(self, case):
        assert torch.equal(case.kernel.dense(), case.kernel.dense())
        out = torch.full_like(case.twin, math.nan)
        assert case.kernel.dense(out) is out
        assert torch.equal(out, case.kernel.dense())

    @pytest.mark.parametrize(
        "rows",
        [slice(2, 9), slice(None), slice(0, 8, 3), slice(4, 4), [3, 0, 3], torch.tensor([-1, 1])],
        ids=str,
    )
    def test_tiles(self, case, rows):
        places = torch.as_tensor(rows) if isinstance(rows, list) else rows
        agree(case, case.kernel.tile(rows, slice(1, 6)), places, slice(1, 6)) if len(
            case.twin[places]
        ) else None
        assert case.kernel.tile(rows, slice(1, 6)).shape == case.twin[places][:, 1:6].shape
        mask = torch.arange(case.kernel.shape[1]) % 2 == 0
        agree(case, case.kernel.tile(slice(0, 4), mask), slice(0, 4), mask)

    def test_a_tile_is_its_own(self, case):
        before = case.kernel.dense()
        case.kernel.tile(slice(0, 5), slice(0, 5)).zero_()
        assert torch.equal(case.kernel.dense(), before)

    def test_tiles_outside_are_refused(self, case):
        with pytest.raises(IndexError):
            case.kernel.tile([0, len(case.kernel)], slice(0, 2))

    def test_diagonal_and_trace(self, case):
        if not case.kernel.symmetric:
            for what in (case.kernel.diagonal, case.kernel.trace, case.kernel.forming_error):
                with pytest.raises(ValueError, match="cross kernel"):
                    what()
            return
        error = case.kernel.entry_error() + case.blur
        off = (case.kernel.diagonal() - case.twin.diagonal()).abs()
        assert bool((off <= error * case.left).all())
        assert case.kernel.trace() == pytest.approx(float(case.twin.trace()), rel=1e-12)

    def test_products(self, case):
        N, M = case.twin.shape
        V = torch.linspace(-1, 1, 2 * M, dtype=torch.float64).reshape(M, 2)
        slack = (case.kernel.entry_error() + case.blur) * float(case.scale.max()) * M
        for W in (V, V[:, 0]):
            assert float((case.kernel @ W - case.twin @ W).abs().max()) <= slack
        U = V.flip(0)[:N] if N <= M else torch.ones(N, 2, dtype=torch.float64)
        assert float((case.kernel.T @ U - case.twin.T @ U).abs().max()) <= slack * max(N, M)
        operator = case.kernel.to_scipy()
        np.testing.assert_allclose(operator @ V.numpy(), case.twin @ V, rtol=0, atol=slack)
        np.testing.assert_allclose(
            operator.rmatvec(U[:, 0].numpy()), case.twin.T @ U[:, 0], rtol=0, atol=slack * max(N, M)
        )
        for bad in (V[1:], V[None]):
            with pytest.raises(ValueError, match="shape"):
                case.kernel @ bad
        with pytest.raises(TypeError):
            case.kernel @ 3

    def test_the_transpose(self, case):
        flipped = Case(case.kernel.T, case.twin.T, case.right, case.left)
        assert case.kernel.T.shape == flipped.twin.shape
        agree(flipped, flipped.kernel.dense())
        agree(flipped, flipped.kernel.tile(slice(0, 3), slice(1, 4)), slice(0, 3), slice(1, 4))

    def test_another_precision(self, case):
        single = case.kernel.to(torch.float32)
        assert single.dtype == single.dense().dtype == torch.float32
        assert single.shape == case.kernel.shape
        # the stored numbers themselves have been rounded, four to an entry
        agree(case, single.dense().double(), extra=single.entry_error() + 2.0**-21)
        assert (single @ torch.ones(single.shape[1])).dtype == torch.float32
        assert case.kernel.to(torch.float64).dtype == torch.float64
        assert case.kernel.to(device="cpu").device.type == "cpu"

    def test_terms_add_up(self, case):
        terms = case.kernel.terms
        total = sum(case.kernel.term(i).dense() for i in range(len(terms)))
        agree(case, total, extra=len(terms) * EPS)
        for place, term in enumerate(terms):
            if term.name:
                first = [t.name for t in terms].index(term.name)
                named = case.kernel.term(term.name).dense()
                assert torch.equal(named, case.kernel.term(first).dense())
                assert first == place, "names are unique"
        if all(term.name for term in terms):
            ends = {terms[0].name, terms[-1].name}
            group = case.kernel.group(*ends)
            assert {t.name for t in group.terms} == ends
            expected = sum(case.kernel.term(name).dense() for name in ends)
            scale = float(case.scale.max())
            assert float((group.dense() - expected).abs().max()) <= 4 * len(terms) * EPS * scale
            assert case.kernel.group("*") is case.kernel
        with pytest.raises(IndexError):
            case.kernel.term(len(terms))
        with pytest.raises(ValueError, match="no term"):
            case.kernel.term("no such term")
        with pytest.raises(ValueError, match="no such term"):
            case.kernel.group("no such term")

    def test_the_error_is_a_bound_and_small(self, case):
        assert 0 <= case.kernel.entry_error() < 1e-10
        if case.kernel.symmetric:
            slack = case.blur * float(case.left.sum())
            norm = float(torch.linalg.matrix_norm(case.kernel.dense() - case.twin, 2))
            assert norm <= case.kernel.forming_error() + slack
            assert case.kernel.forming_error() < 1e-9 * case.kernel.trace()

    def test_memory_is_asked_for_first(self, case, monkeypatch):
        monkeypatch.setattr("ntkscope._base.memory.available", lambda: 100)
        with pytest.raises(MemoryError, match=r"free|allows"):
            case.kernel.dense()

    def test_a_wrong_out_is_refused(self, case):
        if "dense" in vars(type(case.kernel)):
            pytest.skip("its dense() is its own, not yet the contract's")
        for out in (case.twin[1:], case.twin.float()):
            with pytest.raises(ValueError, match="out must be"):
                case.kernel.dense(out.clone())

    def test_it_says_what_it_is(self, case):
        assert type(case.kernel).__name__ in repr(case.kernel)
        assert str(case.kernel.shape) in repr(case.kernel)
        assert case.kernel.covers in case.kernel._repr_html_()
        assert case.kernel.labels

    def test_spectra_take_it(self, case):
        if not case.kernel.symmetric:
            with pytest.raises(ValueError, match=r"cross kernel|square|symmetric"):
                ntk.smallest_eigenvalue(case.kernel)
            return
        exact = torch.linalg.eigvalsh(case.twin)
        slack = case.blur * float(case.left.sum())
        found = ntk.smallest_eigenvalue(case.kernel)
        assert found.lower - slack <= float(exact[0]) <= found.upper + slack
        assert found.upper - found.lower >= case.kernel.forming_error()
        assert found.covers == case.kernel.covers
        ends = ntk.extreme_eigenvalues(case.kernel, 2)
        for e, true in zip((*ends.smallest, *ends.largest), exact[[0, 1, -1, -2]], strict=True):
            assert e.lower - slack <= float(true) <= e.upper + slack
        condition = ntk.condition_number(case.kernel)
        assert condition.lower <= float(exact[-1] / exact[0]) * (1 + slack / float(exact[0]))
        density = ntk.spectral_density(case.kernel)
        assert float((density.nodes[0] - exact).abs().max()) <= density.error + slack
        half = case.twin - float(exact[0]) / 2 * torch.eye(len(case.twin), dtype=torch.float64)
        assert ntk.certify_loewner(case.kernel, half).dominates
        assert ntk.certify_loewner(case.kernel, 2 * case.twin).dominates is False
        assert "dense" in str(ntk.plan(case.kernel))
