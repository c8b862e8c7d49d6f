"""Signals of few outputs, turned on the way back: exact, within their error, and given up where others carry more."""

import pytest
import test_module_walk as walks
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.making import walk as walk_module
from oracles import module_ntk


class Pooled(nn.Module):
    """Below the pooled head, an output's signal of ``last`` is a number times what all outputs share."""

    def __init__(self, outputs=6, odd=None):
        super().__init__()
        self.first, self.last, self.head = nn.Linear(3, 5), nn.Linear(5, 8), nn.Linear(8, outputs)
        self.odd = odd

    def forward(self, x):
        y = torch.tanh(self.last(torch.tanh(self.first(x))))
        if self.odd is None:
            return self.head(y.mean(1))
        odd = (x[:, 0, 0] == self.odd)[:, None]  # signals of another kind at these samples
        return torch.where(odd, self.head(y).square().mean(1), self.head(y.mean(1)))


def made(count, odd=None):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Pooled(odd=odd).double()
        X = torch.randn(count, 4, 3, dtype=torch.float64)
    return model, X


@pytest.fixture
def passes(monkeypatch):
    """Walks are forced, and each that turns signals, or does not, is written down."""
    walks.force(monkeypatch, everything=False)
    seen = []
    plain = walk_module._Walk.__init__

    def noted(self, survey, trace, outputs, names, turned, *more):
        seen.append(sorted(turned))
        plain(self, survey, trace, outputs, names, turned, *more)

    monkeypatch.setattr(walk_module._Walk, "__init__", noted)
    return seen


def exact(model, X):
    return module_ntk.kernel(module_ntk.jacobian(model, X))


def test_a_layer_below_a_pooled_head_is_contracted_once_for_all_outputs(passes):
    model, X = made(40)
    K = ntk.empirical_ntk(model, X)
    assert passes == [["last.weight"]]
    expected = exact(model, X)
    assert float((K.dense() - expected).abs().max()) <= 1e-13 * float(expected.abs().max())
    assert K.forming_error() >= float(torch.linalg.matrix_norm(K.dense() - expected, 2))
    (term,) = (t for t in K.terms if t.name == "last.weight")
    assert isinstance(term, FormedBlock)
    # one output's sums on 4 positions of 8 units and 40 weights, and the turning of six
    assert term.inner == 2 * 4 * 8 + 40 + (2 + 16) * 6
    assert bool((term.magnitudes() * (1 + 1e-12) >= term.diagonal()).all())


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_samples_that_no_probe_saw_send_it_back(passes, scale):
    model, X = made(40, odd=1.5)
    X[4] *= scale
    X[4, 0, 0] = 1.5  # of 40 samples neither the four that are looked at nor the 32 hold the fifth
    K = ntk.empirical_ntk(model, X)
    assert passes == [["last.weight"], []]
    expected = exact(model, X)
    assert float((K.dense() - expected).abs().max()) <= 1e-13 * float(expected.abs().max())


def test_full_signals_and_one_output_are_not_turned(passes):
    model, X = made(8)
    squares = nn.Sequential(model.first, nn.Tanh(), model.last, Squares()).double()
    K = ntk.empirical_ntk(squares, X)
    expected = exact(squares, X)
    assert float((K.dense() - expected).abs().max()) <= 1e-13 * float(expected.abs().max())
    ntk.empirical_ntk(model, X, reduce=1)
    assert passes == [[], []]


class Squares(nn.Module):
    def forward(self, y):
        return torch.stack([y.pow(k).mean((1, 2)) for k in range(2, 8)], dim=1)


def test_what_is_turned_is_held_against_autograd(passes, monkeypatch):
    model, X = made(12)
    turning = walk_module.Turned.add
    monkeypatch.setattr(
        walk_module.Turned,
        "add",
        lambda self, place, site, g: turning(self, place, site, 1.001 * g),
    )
    with pytest.raises(ValueError, match="add up to another sum than plain autograd's"):
        ntk.empirical_ntk(model, X)
    assert passes


def test_what_would_hold_more_than_the_budget_is_not_turned(passes, monkeypatch):
    model, X = made(12)
    plain = walk_module.rotations
    for room in (
        12 * 32 * 8 * 3,
        12 * 32 * 8 * 3 - 1,
    ):  # samples, signals, bytes; turned, squares, weighted
        monkeypatch.setattr(
            walk_module, "rotations", lambda *more, room=room: plain(*more[:-1], room)
        )
        ntk.empirical_ntk(model, X)
    assert passes == [["last.weight"], []]
