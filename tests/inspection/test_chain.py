"""The λ_min chain of limiting kernels."""

import json

import pytest
import torch

import ntkscope as ntk


@pytest.mark.parametrize("residual", [0.0, 0.6])
@pytest.mark.parametrize(
    ("name", "form", "bias"), [("relu", "standard", None), ("tanh", "ntk", 0.3)]
)
def test_chain_bounds_every_term_and_the_kernel(name, form, bias, residual):
    X = torch.randn(14, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = ntk.Network([20, 20, 20, 1], name, "lecun", form, bias_std=bias, residual=residual)
    chain = ntk.limiting_chain(net, X)
    terms = ntk.limiting_ntk(net, X, get="terms")
    for found, term in zip(chain.terms, terms, strict=True):
        least = float(torch.linalg.eigvalsh(term)[0])
        assert 0 < found.lower <= least * (1 + 1e-10)
    assert chain.lower <= chain.smallest.value * (1 + 1e-10)
    # the last layer's S is 11ᵀ
    assert chain.terms[-1].signal == pytest.approx(1.0, rel=1e-12)
    json.dumps(chain.to_dict())


def test_zero_row_gives_a_zero_bound():
    X = torch.eye(4, dtype=torch.float64)
    X[2] = 0
    chain = ntk.limiting_chain(ntk.Network([4, 9, 1], "relu"), X)
    assert chain.lower == 0.0
