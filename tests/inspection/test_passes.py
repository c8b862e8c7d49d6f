"""What an inspection costs: one survey, one pass over the data, and single samples for the check."""

from collections import Counter

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.module.making import prepare as preparing

N = 12


def network(outputs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, outputs)
        ).double()  # fmt: skip


def sizes(model, run):
    """How many forward passes saw a batch of each size."""
    seen = Counter()
    handle = model.register_forward_hook(lambda _, inputs, __: seen.update([len(inputs[0])]))
    run()
    handle.remove()
    return seen


@pytest.fixture
def surveys(monkeypatch):
    made = []

    def watched(*arguments):
        made.append(1)
        return preparing_survey(*arguments)

    preparing_survey = preparing.survey
    monkeypatch.setattr(preparing, "survey", watched)
    return made


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_module_is_surveyed_and_passed_once(outputs, surveys):
    model, X = network(outputs), torch.randn(N, 1, 4, 4, dtype=torch.float64)
    seen = sizes(model, lambda: ntk.inspect(model, X))
    assert len(surveys) == 1
    # the survey: two, three, and the third alone; the checks: two alone, and all in two other batches
    assert seen == {2: 1, 3: 1, 1: 3, N: 1, N // 2: 2}
    assert sizes(model, lambda: ntk.inspect(model, X, self_check=False)) == {2: 1, 3: 1, 1: 1, N: 1}


def test_other_calls_do_no_more(surveys):
    model, X = network(3), torch.randn(N, 1, 4, 4, dtype=torch.float64)
    expected = {2: 1, 3: 1, 1: 3, N: 1, N // 2: 2}
    for reduce in ("trace", "full", "diagonal", 1):
        assert sizes(model, lambda r=reduce: ntk.empirical_ntk(model, X, reduce=r)) == expected
    assert sizes(model, lambda: ntk.Tracker(model, X)) == expected
    assert len(surveys) == 5
    # the plan times one pass of at most 32 samples
    assert sizes(model, lambda: ntk.plan_kernel(model, X)) == {2: 1, 3: 1, 1: 1, N: 1}


def test_an_mlp_goes_backward_once(monkeypatch):
    from ntkscope.kernels import mlp

    calls, own = [], mlp.backprop
    monkeypatch.setattr(mlp, "backprop", lambda *a: calls.append(a[2]) or own(*a))
    ntk.inspect(ntk.Network([4, 20, 3]), ntk.data.gaussian(6, 4, seed=0))
    assert calls == [(0, 1, 2)]
