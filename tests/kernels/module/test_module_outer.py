"""Per-sample gradients by slices into one buffer, against the same gradients formed whole."""

from __future__ import annotations

import pytest
import torch

from ntkscope.kernels.module.holding.contract import outer_slices
from ntkscope.kernels.module.holding.triangle import mirror
from ntkscope.kernels.module.holding.weight_block import Use, Way, WeightBlock
from ntkscope.kernels.module.reading.layers.dense import Dense


@pytest.mark.parametrize("budget", [8.0, 2e3, 3e4, 64e6])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_block_is_the_same_within_any_budget(budget: float, symmetric: bool) -> None:
    torch.manual_seed(0)
    n, m, C, T, p, q = 70, 70 if symmetric else 11, 3, 9, 4, 5
    x, g = torch.randn(n, T, p).double(), torch.randn(n, C, T, q).double()
    y, h = (
        (x, g) if symmetric else (torch.randn(m, T, p).double(), torch.randn(m, C, T, q).double())
    )
    block = WeightBlock("w", (Use(Dense(False), (x, y), (g, h)),), (q, p), False, budget)
    assert block.way(n, m) is Way.GRADIENTS
    out = torch.zeros(n, m, dtype=torch.float64)
    block.add_dense(out)
    if symmetric:
        mirror(out)
    left, right = (torch.einsum("nctq,ntp->ncqp", *pair).flatten(1) for pair in ((g, x), (h, y)))
    expected = left @ right.T
    assert float((out - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


@pytest.mark.parametrize("budget", [1.0, 1e3, 1e5, 1e9])
@pytest.mark.parametrize(("n", "p", "units"), [(1, 1, 1), (256, 64, 1920), (5000, 576, 640)])
def test_slices_keep_to_the_budget(n: int, p: int, units: int, budget: float) -> None:
    step, width = outer_slices(n, p, units, budget)
    assert 1 <= step <= n
    assert 1 <= width <= units
    assert step * width * p <= max(p, budget / 4)
