"""What kernels say of their entries' errors, on entries that are as wrong as they may be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.index import count, place
from ntkscope.kernels.kernel import Converted
from ntkscope.kernels.limiting.error import LayerError, kernel_error
from ntkscope.kernels.limiting.terms import limiting_terms
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.reading.kinks import near_zero
from ntkscope.kernels.module.reading.layers.elementwise import _reduce
from ntkscope.kernels.summed import SummedKernel
from oracles import textbook
from oracles.residual import residual_ntk
from oracles.textbook import U

EPS = 2.0**-20  # beside which roundings vanish


def one(value, error=0.0, semidefinite=True):
    return MatrixKernel(torch.tensor([[value]], dtype=torch.float64), entry_error=error,
                        semidefinite=semidefinite)  # fmt: skip


def test_a_sum_of_kernels_adds_one_rounding_for_each_term():
    """1 + (2u − tiny) three times: every sum rounds down by almost u."""
    part = float(U) * 0.999
    kernel = SummedKernel([one(1.0), one(part), one(part), one(part)])
    true = 1 + 3 * Fraction(part)
    got = Fraction(float(kernel.dense()[0, 0]))
    assert got == 1
    assert abs(got - true) <= Fraction(kernel.entry_error()) * true
    assert abs(got - true) <= Fraction(kernel.forming_error())
    assert abs(got - true) > Fraction(7, 10) * Fraction(kernel.entry_error())
    mixed = SummedKernel([one(1.0, EPS), one(3.0, 4 * EPS)])
    assert mixed.entry_error() >= 4 * EPS  # the second alone
    assert mixed.forming_error() >= EPS + 12 * EPS


def test_a_shorter_precision_adds_its_rounding():
    x = 1 + 2.0**-24  # half way between two float32 numbers
    kernel = HadamardKernel([Term("t", Factor.symmetric(torch.tensor([[1.0]]).double()), None, x)])
    single = one(x, EPS).to(torch.float32)
    moved = Fraction(float(single.matrix[0, 0]))
    assert abs(moved - Fraction(x)) == Fraction(1, 2**24)
    assert single.entry_error() >= EPS + 2.0**-24
    converted = Converted(kernel, torch.float32, torch.device("cpu"))
    assert converted.entry_error() >= kernel.entry_error() + 2.0**-24


def test_a_view_is_as_wrong_as_its_kernel():
    cross = MatrixKernel(torch.ones(2, 3, dtype=torch.float64), entry_error=EPS)
    assert cross.T.entry_error() == EPS
    kernel = HadamardKernel([Term("t", Factor.symmetric(torch.ones(2, 2).double()), None, 1.0)])
    single = Converted(kernel, torch.float32, torch.device("cpu"))
    # float32's rounding stays where the numbers are read in float64 again
    assert single.to(torch.float64).entry_error() >= 2.0**-24
    assert single.to(torch.float64).dtype == torch.float64
    assert Converted(single, torch.float64, single.device).to(torch.float32).entry_error() >= 2**-24


def test_a_forming_error_is_that_of_the_true_trace():
    """[[¾]] with γ = ¼ may stand for [[1]], which is wrong by ¼ of its own trace."""
    assert one(0.75, 0.25).forming_error() >= 0.25


def test_places_are_those_of_a_list():
    numbers, cpu = list(range(10, 17)), torch.device("cpu")
    for index in (slice(2, 5), slice(None), slice(5, 2), slice(-3, None), slice(0, 7, 3),
                  slice(6, 0, -2)):  # fmt: skip
        made = place(index, 7, cpu)
        got = numbers[made] if isinstance(made, slice) else [numbers[k] for k in made.tolist()]
        assert got == numbers[index]
        assert count(made) == len(got)
        assert not isinstance(made, slice) or made.stop - made.start == len(got)
    assert place([0, -1, -7, 6], 7, cpu).tolist() == [0, 6, 0, 6]
    assert place(torch.tensor([True, False] * 3 + [True]), 7, cpu).tolist() == [0, 2, 4, 6]
    for bad in ([7], [-8], torch.tensor([True] * 6)):
        with pytest.raises(IndexError):
            place(bad, 7, cpu)


def test_the_terms_of_a_limit_are_as_wrong_as_the_limit():
    net = ntk.Network([3, 50, 40, 1], "relu", "he")
    X = ntk.data.gaussian(4, 3, seed=0)
    terms = limiting_terms(net, X)
    own = ntk.limiting_kernel(net, X, get="terms").entry_error()
    assert [t.name for t in terms.terms] == ["W_1", "W_2", "W_3"]
    assert all(t.entry_error() >= own > 0 for t in terms.terms)
    assert terms.entry_error() >= own + 2 * float(U)


def test_an_asymmetric_matrix_lies_half_its_skewness_from_its_symmetric_part():
    K = torch.eye(600, dtype=torch.float64)
    K[0, 599], K[599, 0] = 2.0**-49, -(2.0**-49)
    from ntkscope.spectra.storage.source import as_source

    skew = Fraction(2.0**-48)  # ‖K − Kᵀ‖₂; its Frobenius norm is √2 of it
    assert Fraction(as_source(K).error) >= skew / 2
    assert as_source(MatrixKernel(torch.eye(2).double() * 4, entry_error=EPS)).error >= 8 * EPS


@pytest.mark.parametrize("slope", [0.0, 0.5 * EPS])
def test_the_error_of_a_limit_follows_its_recursion(slope):
    """Θ_2 = Θ_1 ∘ Ė + A_1 with Θ_1 wrong by e, Ė by s: e + s + 5u at the least, 5u more a layer."""
    first, layer = LayerError(EPS, 0.0), LayerError(0.0, slope)
    assert kernel_error([first]) >= EPS + 5 * float(U)
    assert kernel_error([first, layer]) >= EPS + slope
    assert kernel_error([first, layer, layer]) >= EPS + 2 * slope
    assert kernel_error([LayerError(0, 0)]) >= 5 * float(U)
    assert kernel_error([LayerError(0, 0)] * 2) >= 10 * float(U)
    assert kernel_error([LayerError(0, 0), LayerError(EPS, 0)]) >= EPS
    # what is large is multiplied as well: 1.25 · 1.25 − 1
    large = [LayerError(0.25, 0.0), LayerError(0.0, 0.25)]
    assert kernel_error(large) >= 0.5625
    # errors do not become less on the way
    assert kernel_error([*large, LayerError(0.0, 0.0)]) >= 0.5625


def test_a_residual_smooth_limit_is_its_recursion():
    X = np.random.default_rng(0).normal(size=(3, 5)) + 0.4
    net = ntk.Network([5, 5, 5, 1], "softplus", "lecun", residual=0.5)
    got = ntk.limiting_ntk(net, torch.from_numpy(X))
    width = 5.0

    def softplus(x):
        return np.logaddexp(0.0, x)

    made = residual_ntk(X, net.betas, 0.5, softplus, lambda x: 1 / (1 + np.exp(-x)))
    scale = float(got[0, 0]) / made[0, 0]
    assert scale == pytest.approx(1.0, rel=1e-9) or scale == pytest.approx(1 / width, rel=1e-9)
    np.testing.assert_allclose(got.numpy(), made * scale, rtol=1e-9)


# -- kernels of modules ----------------------------------------------------------------------------


def blocks(kernel):
    found = [t for t in kernel.terms if isinstance(t, WeightBlock)]
    assert found
    return found


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_a_shared_weight_s_error_counts_its_positions():
    """40 × 40 weights at 3 positions: sums over 2·3·40 numbers, then over 1600 products."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 40), nn.Tanh(), Mean(), nn.Linear(40, 1)).double()
    X = torch.randn(6, 3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    K = ntk.empirical_ntk(model, X)
    block = blocks(K)[0]
    assert block.inner >= 2 * 3 * 40 + 40 * 40
    assert float(block.magnitudes().sum()) >= float(block.diagonal().sum()) * (1 - 1e-12)
    gamma = textbook.gamma(2 * 3 * 40 + 40 * 40)
    assert Fraction(K.forming_error()) >= gamma * Fraction(float(block.diagonal().sum()))


def test_near_kinks_are_those_that_rounding_may_move():
    """Within n·u of the sample's largest, zeros left out; float32 has its own u."""
    u = 2.0**-53
    x = torch.tensor([[1.0, 3.9 * u, 4.1 * u, 0.0], [-8.0, 1e-3, -31 * u, 33 * u]]).double()
    x = torch.tensor([[1.0, 3.9 * u, 4.1 * u, 0.0], [-8.0, 1e-3, -31 * u, 33 * u]],
                     dtype=torch.float64)  # fmt: skip
    assert int(near_zero(x)) == 2
    assert int(near_zero(torch.tensor([[1.0, 1e-8, 1e-3, 0.0]]))) == 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [1.0, 1.0]]))
    X = torch.tensor([[1.0, 1.0 + 2 * u], [1.0, 2.0]], dtype=torch.float64)
    assert ntk.empirical_ntk(model, X).near_kinks == 1


def test_a_subtracted_parameter_s_gradient_has_the_other_sign():
    g = torch.arange(12, dtype=torch.float64).reshape(2, 1, 2, 3)
    whole = slice(None)
    assert torch.equal(_reduce(g, (3,), -1.0, whole), -g.sum(2))
    assert torch.equal(_reduce(g, (3,), 1.0, slice(1, 3)), g.sum(2)[..., 1:])
    assert torch.equal(_reduce(g, (2, 1), 1.0, whole), g.sum(3))
