"""The loss after training, against torch's own Adam."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.trial_functions import results
from ntkscope import Network, data
from ntkscope.experiments.measures.adam import adam


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(2, 12), st.sampled_from(["relu", "tanh"]), st.integers(0, 99))
def test_adam_is_torchs_adam(seeds, N, activation, seed):
    net = Network([4, 6, 5, 1], activation, "lecun")
    models = [net.sample(seed + k) for k in range(seeds)]
    X = torch.stack([data.gaussian(N, 4, seed=k) for k in range(seeds)])
    Y = torch.stack([data.gaussian(N, 1, seed=100 + k) for k in range(seeds)])
    weights = [torch.stack([m.weights[l].detach().clone() for m in models]) for l in range(3)]
    ended = adam(net, weights, X, Y, rate=0.01, epochs=30, window=10)
    for k, model in enumerate(models):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses, windows = [], [math.inf]
        while len(losses) < 30:
            total = 0.0
            for _ in range(10):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(X[k]), Y[k])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                total += loss.item()
            if not total / 10 <= windows[-1]:
                break
            windows.append(total / 10)
        assert float(ended.first[k]) == pytest.approx(losses[0], rel=1e-12)
        # Adam divides by the root of tiny second moments, which amplifies rounding a little
        assert float(ended.loss[k]) == pytest.approx(windows[-1], rel=1e-7)
        assert int(ended.epochs[k]) == len(losses)


def test_training_that_diverges_is_no_zero():
    net = Network([3, 4, 1], "relu", "unit")
    weights = [net.sample(0).weights[l].detach()[None] for l in range(2)]
    X = torch.full((1, 2, 3), 1e200, dtype=torch.float64)
    ended = adam(net, weights, X, torch.ones(1, 2, 1, dtype=torch.float64), 0.1, 40, 10)
    assert not math.isfinite(float(ended.loss[0]))
    assert float(ended.rose[0]) == 1.0


def test_training_trials_are_the_same_in_any_part_of_a_block():
    values = {
        "name": "t",
        "measure": "final_loss",
        "seeds": 3,
        "batch": 3,
        "data": "gaussian:N=8,d=3",
        "network": {"widths": [3, 4, 1], "init": "bombari2022"},
        "training": {"epochs": 200, "window": 50},
    }
    whole = results(values)
    assert results({**values, "seeds": 1}) == whole[:1]
    assert all(0 <= r["final_loss"] < r["first_loss"] for r in whole)
