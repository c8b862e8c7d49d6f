"""Signals that differ over the outputs by factors alone: summed beforehand, or left alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.compress import fewer_outputs
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from oracles import module_ntk


def signals(n: int, C: int = 6, T: int = 5, q: int = 7) -> torch.Tensor:
    """g_nctq = w_cq s_ntq."""
    w = torch.randn(C, 1, q, dtype=torch.float64)
    return w * torch.randn(n, 1, T, q, dtype=torch.float64)


def gram(g: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Σ_c g_cu h_cu for every pair of rows and positions, a unit at a time."""
    return torch.einsum("nctq,mcsq->nmtsq", g, h)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("n", [1, 3, 100])
def test_one_output_is_left_of_signals_of_rank_one(n: int) -> None:
    g = signals(n)
    few, other = fewer_outputs((g, g), 3)
    assert few.shape == (n, 1, 5, 7)
    assert other is few
    assert torch.allclose(gram(few, few), gram(g, g), rtol=1e-12, atol=1e-13)


def test_a_row_that_no_probe_saw_is_noticed() -> None:
    g = signals(100)
    g[1] += torch.randn_like(g[1])  # 4 and 32 of 100 rows are probed: 0, 3, 6, …
    assert fewer_outputs((g, g), 3)[0] is g


def test_a_faint_row_of_another_kind_is_noticed() -> None:
    # its squares are nothing beside the others', but its input may be as much larger
    g = signals(100)
    g[1] = 1e-12 * torch.randn_like(g[1])
    assert fewer_outputs((g, g), 3)[0] is g


def test_columns_of_another_kind_are_noticed() -> None:
    g, h = signals(20), torch.randn(9, 6, 5, 7, dtype=torch.float64)
    assert fewer_outputs((g, h), 3)[0] is g


def test_both_sides_turn_alike() -> None:
    g = signals(20)
    h = g[:9] * torch.randn(9, 1, 5, 7, dtype=torch.float64)
    left, right = fewer_outputs((g, h), 3)
    assert left.shape[1] == right.shape[1] == 1
    assert torch.allclose(gram(left, right), gram(g, h), rtol=1e-12, atol=1e-13)


def test_units_without_a_signal_and_full_rank() -> None:
    g = signals(20)
    g[..., 2] = 0
    assert fewer_outputs((g, g), 3)[0].shape[1] == 1
    full = torch.randn(20, 6, 5, 7, dtype=torch.float64)
    assert fewer_outputs((full, full), 3)[0] is full


def test_the_last_convolution_below_a_pooled_head() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 5),
    ).double()  # fmt: skip
    X = torch.randn(12, 1, 8, 8, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    first, last = (next(t for t in K.terms if t.name == f"{i}.weight") for i in (0, 2))
    assert isinstance(last, WeightBlock)
    assert (last.n_outputs, last.rotated) == (1, 5)
    assert getattr(first, "rotated", 0) == 0
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    # the bound on the error still covers what is computed
    assert K.forming_error() >= float(torch.linalg.matrix_norm(K.dense() - expected, 2))
    cross = ntk.empirical_ntk(model, X[:7], X[7:])
    assert torch.allclose(cross.dense(), expected[:7, 7:], rtol=1e-11, atol=1e-12)
    # "full" keeps the outputs apart
    full = ntk.empirical_ntk(model, X, reduce="full")
    assert next(t for t in full.terms if t.name == "2.weight").n_outputs == 5


def test_self_attention_by_one_projection() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3)).double().eval()
    X = torch.randn(5, 3, 8, dtype=torch.float64)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X)
    assert float((K.dense() - expected).abs().max()) <= 1e-11 * float(expected.abs().max())
