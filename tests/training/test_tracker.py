"""The tracker in a loop of one's own."""

import math

import pytest
import torch

import ntkscope as ntk
from ntkscope.training.tracker import Tracker
from oracles.jacobian import kernel


def setting(seed=0):
    model = ntk.Network([4, 30, 1], "tanh", "he", "ntk").sample(seed)
    X = ntk.data.gaussian(n_samples=8, dim=4, seed=seed)
    return model, X, torch.sign(X[:, :1])


def steps(model, X, Y, optimizer, count, after=id):
    for _ in range(count):
        optimizer.zero_grad()
        loss = 0.5 * ((model(X) - Y) ** 2).sum()
        loss.backward()
        optimizer.step()
        after(loss)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
def test_it_follows_any_optimizer_and_measures_the_kernel(make, tmp_path):
    model, X, Y = setting()
    optimizer = make(model.parameters(), lr=1e-2)
    with Tracker(model, X, every=4, optimizer=optimizer) as tracker:
        steps(model, X, Y, optimizer, 10)
    assert tracker.column("step") == [0, 4, 8, 10]
    expected = ntk.smallest_eigenvalue(ntk.empirical_ntk(model, X))
    last = tracker.history[-1]
    assert abs(last["lambda_min"] - expected.value) <= last["lambda_min_error"] + expected.error
    start = ntk.empirical_ntk(setting()[0], X).dense()
    drift = torch.linalg.matrix_norm(ntk.empirical_ntk(model, X).dense() - start)
    assert last["drift"] == pytest.approx(float(drift / torch.linalg.matrix_norm(start)), rel=1e-12)
    assert tracker.history[0]["drift"] == 0.0
    steps(model, X, Y, optimizer, 4)
    assert tracker.steps_seen == 10  # the hook is gone
    tracker.plot(tmp_path / "ntk.png")
    assert (tmp_path / "ntk.png").stat().st_size > 5000


def test_as_a_callback_it_keeps_the_loss():
    model, X, Y = setting()
    tracker = Tracker(model, X, every=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    steps(model, X, Y, optimizer, 6, after=tracker)
    assert tracker.column("step") == [0, 3, 6]
    assert math.isnan(tracker.history[0]["loss"])
    assert tracker.history[1]["loss"] > tracker.history[2]["loss"]


def test_measuring_changes_nothing():
    plain, tracked = setting(), setting()
    state = torch.get_rng_state()
    for model, X, Y in (plain, tracked):
        optimizer = torch.optim.Adam(model.parameters())
        if model is plain[0]:
            steps(model, X, Y, optimizer, 7)
        else:
            with Tracker(model, X, every=1, optimizer=optimizer):
                steps(model, X, Y, optimizer, 7)
    for p, q in zip(plain[0].parameters(), tracked[0].parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.equal(state, torch.get_rng_state())


def test_an_error_in_the_loop_passes_through():
    model, X, _ = setting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="own"), Tracker(model, X, optimizer=optimizer):
        raise RuntimeError("the loop's own")
    assert not optimizer._optimizer_step_post_hooks


def test_bad_input():
    model, X, _ = setting()
    with pytest.raises(ValueError, match="every must be"):
        Tracker(model, X, every=0)
    with pytest.raises(ValueError, match="features"):
        Tracker(model, X[:, :2])


def test_a_module_of_several_outputs_counts_by_its_trace():
    torch_model = torch.nn.Sequential(
        torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3)
    ).double()
    X = ntk.data.gaussian(n_samples=5, dim=4, seed=0)
    tracker = Tracker(torch_model, X, every=1)
    optimizer = torch.optim.SGD(torch_model.parameters(), lr=1e-2)
    steps(torch_model, X, torch.zeros(5, 3), optimizer, 2, after=tracker)
    expected = torch.linalg.eigvalsh(kernel(torch_model, X))
    assert tracker.history[-1]["lambda_min"] == pytest.approx(float(expected[0]), rel=1e-9)
    assert tracker.history[-1]["lambda_max"] == pytest.approx(float(expected[-1]), rel=1e-12)
    assert all(p.grad is not None for p in torch_model.parameters())


def test_the_modes_are_those_of_the_beginning():
    """A loop in train() with dropout and batch statistics is measured in eval(), and goes on."""
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 9), torch.nn.BatchNorm1d(9), torch.nn.Tanh(), torch.nn.Dropout(0.5),
        torch.nn.Linear(9, 1),
    ).double()  # fmt: skip
    X = ntk.data.gaussian(n_samples=6, dim=4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with pytest.raises(ValueError, match="eval"):
        Tracker(model.train(), X)
    with Tracker(model.eval(), X, every=1, optimizer=optimizer) as tracker:
        model.train()
        steps(model, X, torch.zeros(6, 1), optimizer, 2)
        assert all(part.training for part in model.modules())
    assert tracker.column("step") == [0, 1, 2]
    expected = torch.linalg.eigvalsh(kernel(model.eval(), X))
    # a kernel is measured when the statistics have moved with the steps
    assert tracker.history[-1]["lambda_max"] == pytest.approx(float(expected[-1]), rel=1e-10)


def test_options_reach_the_kernel():
    model, X, _ = setting()
    module = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 1))
    tracker = Tracker(module.double(), X, params="0.*", general=True)
    expected = ntk.empirical_ntk(module, X, params="0.*").dense()
    assert tracker.history[0]["lambda_max"] == pytest.approx(
        float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-10
    )
    with pytest.raises(ValueError, match="max_memory"):
        Tracker(model, X, max_memory=3)
