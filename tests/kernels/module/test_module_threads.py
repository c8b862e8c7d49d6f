"""Outputs and parameters shared among threads: the same kernel, whenever a thread runs, and the count put back."""

import threading

import pytest
import test_module_hostile as hostile
import test_module_walk as walks
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import ntkscope as ntk
from ntkscope._base import threads
from oracles import module_ntk
from oracles.twins import TWINS

EPS = 2.0**-52
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_jobs_run_beside_one_another_in_threads_of_one():
    meet, seen = threading.Barrier(3, timeout=20), []

    def use(job):
        meet.wait()  # returns only where all three run at once
        seen.append((job, torch.get_num_threads(), torch.is_grad_enabled()))

    threads.each(use, range(3), CPU)
    assert sorted(seen) == [(job, 1, True) for job in range(3)]


def test_few_jobs_have_several_threads_each():
    torch.set_num_threads(5)
    meet, seen = threading.Barrier(2, timeout=20), []

    def use(_):
        meet.wait()
        seen.append(torch.get_num_threads())

    threads.each(use, range(2), CPU)
    assert seen == [2, 2]
    torch.set_num_threads(64)
    assert threads.workers(100, CPU) == 4
    torch.set_num_threads(3)
    assert threads.workers(100, torch.device("cuda")) == 1
    assert threads.workers(100, CPU) == 3
    assert threads.workers(0, CPU) == 1


def test_one_at_a_time_is_on_the_callers_thread():
    seen = []
    threads.each(lambda job: seen.append((job, threading.get_ident())), range(3), CPU, most=1)
    assert seen == [(job, threading.get_ident()) for job in range(3)]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_is_raised_at_once_and_what_has_not_begun_is_left(bad):
    seen = []

    def use(job):
        seen.append(job)
        if job == bad:
            raise ValueError(f"job {job}")
        threading.Event().wait(0.2 if job == 0 else 0.02)

    with pytest.raises(ValueError, match=f"job {bad}"):
        threads.each(use, range(200), CPU)
    assert len(seen) < 10


def test_a_thread_that_asks_first_while_jobs_run_gets_the_process_count():
    found = []

    def late(_):
        asks = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        asks.start()
        asks.join()

    threads.each(late, range(6), CPU)
    assert found == [3] * 6


def test_several_callers_at_once_keep_their_counts():
    found = []

    def call():
        threads.each(lambda _: threading.Event().wait(0.02), range(6), CPU)
        found.append(torch.get_num_threads())

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [3] * 4


def repeated(model, X):
    """The kernel, made twice, and alike in each bit."""
    K, again = ntk.empirical_ntk(model, X), ntk.empirical_ntk(model, X)
    assert torch.equal(K.dense(), again.dense())
    return K


def close(K, model, X):
    exact = module_ntk.kernel(module_ntk.jacobian(model, *X))
    assert float((K.dense() - exact).abs().max()) <= 5000 * EPS * float(exact.abs().max())


FEW = ("ViT block", "BERT with a mask", "LSTM")


@pytest.mark.parametrize("name", FEW)
def test_held(name):
    model, X = walks.twin(name) if name in TWINS else walks.other(name)
    close(repeated(model, X), model, X)


@pytest.mark.parametrize("name", [*TWINS, *walks.OTHERS])
def test_walked(name, monkeypatch):
    walks.force(monkeypatch, everything=True)
    model, X = walks.twin(name) if name in TWINS else walks.other(name)
    K = repeated(model, X) if name in FEW else ntk.empirical_ntk(model, X)
    close(K, model, X)


@pytest.mark.parametrize("walked", [False, True])
@pytest.mark.parametrize("name", hostile.GRADIENTS)
def test_gradients_that_take_their_own_way(name, walked, monkeypatch):
    if walked:
        walks.force(monkeypatch, everything=True)
    hostile.test_gradients_that_take_their_own_way(name, False)


class Recomputed(nn.Module):
    """The middle is run again in every pass back."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 8)

    def forward(self, x):
        y = torch.tanh(self.first(x))
        y = checkpoint(lambda y: torch.tanh(self.middle(y)), y, use_reentrant=False)
        return self.head(y.mean(1))


@pytest.mark.parametrize("walked", [False, True])
def test_a_pass_that_is_run_again_on_the_way_back(walked, monkeypatch):
    if walked:
        walks.force(monkeypatch, everything=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Recomputed().double(), torch.randn(9, 5, 4, dtype=torch.float64)
    for _ in range(5):
        close(ntk.empirical_ntk(model, X), model, (X,))


def test_turned_signals(monkeypatch):
    import test_module_turning as turning

    walks.force(monkeypatch, everything=False)
    model, X = turning.made(40)
    close(repeated(model, X), model, (X,))
