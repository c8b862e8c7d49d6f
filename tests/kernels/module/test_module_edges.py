"""Samples that see one another, gradients switched off outside, and what is said about the rest."""

import random
import time

import numpy as np
import pytest
import torch
from torch import nn

import ntkscope as ntk
from oracles import module_ntk


class Net(nn.Module):
    """Five inputs, two outputs; ``what(net, x)`` is its forward pass."""

    def __init__(self, what=lambda net, x: net.plain(x), width=6):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner = nn.Linear(5, width).double()
            self.outer = nn.Linear(width, 2).double()
        self.what, self.count = what, 0

    def plain(self, x):
        return self.outer(torch.tanh(self.inner(x)))

    def forward(self, x):
        self.count += 1
        return self.what(self, x)


def data(n=20):
    return torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


COUPLED = {
    "first sample added": lambda net, x: net.plain(x) + net.plain(x[:1]),
    "first sample taken off": lambda net, x: net.plain(x - 0.5 * x[:1]),
    "first sample as a factor": lambda net, x: net.plain(x) * x[0, 0],
    "largest entry": lambda net, x: net.plain(x / x.abs().max()),
    "running sum": lambda net, x: net.plain(x.cumsum(0)),
    "last sample": lambda net, x: net.plain(x) + net.plain(x[-1:]),
    "branch on the batch": lambda net, x: net.plain(x) if float(x.sum()) > 0 else net.plain(-x),
    "large batches only": lambda net, x: net.plain(x - (x.mean(0) if len(x) > 4 else 0)),
}


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("name", COUPLED)
def test_samples_that_see_one_another_are_refused(name, general):
    with pytest.raises(ValueError, match="the samples see one another") as caught:
        ntk.empirical_ntk(Net(COUPLED[name]), data(), general=general)
    assert not isinstance(caught.value, ntk.SelfCheckError)


def test_samples_of_x2_that_see_one_another_are_refused():
    model = Net(lambda net, x: net.plain(x - (x.mean(0) if len(x) > 4 else 0)))
    with pytest.raises(ValueError, match="the samples see one another"):
        ntk.empirical_ntk(model, data(4), data(20), general=True)


NUMPY = np.random.default_rng(0)


@pytest.mark.parametrize(
    "factor",
    [lambda _: NUMPY.random(), lambda _: random.random(), lambda net: 1 + net.count],
    ids=["numpy", "random", "counter"],
)
def test_a_model_of_another_draw_at_each_pass_is_not_deterministic(factor):
    with pytest.raises(
        ValueError, match="not deterministic: two passes over the same batch differ"
    ):
        ntk.empirical_ntk(Net(lambda net, x: net.plain(x) * factor(net)), data())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_that_cancel_to_rounding_are_not_taken_for_coupling(dtype):
    """Two equal halves of opposite signs, their units shuffled: outputs are rounding, u·√n."""
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(128, generator=g)
    inner, outer = nn.Linear(5, 128, bias=False), nn.Linear(128, 1, bias=False)
    half, read = torch.randn(64, 5, generator=g), torch.randn(1, 64, generator=g)
    with torch.no_grad():
        inner.weight.copy_(torch.cat([half, half])[order])
        outer.weight.copy_(torch.cat([read, -read], dim=1)[:, order])
    model = nn.Sequential(inner, nn.Tanh(), outer).to(dtype)
    X = data(40).to(dtype)
    assert 0 < float(model(X).detach().abs().max()) < 1e3 * torch.finfo(dtype).eps
    expected = module_ntk.kernel(module_ntk.jacobian(model.double(), X.double()))
    for general in (False, True):
        K = ntk.empirical_ntk(model.to(dtype), X, general=general).dense().double()
        assert float((K - expected).abs().max()) <= 1e2 * torch.finfo(dtype).eps * float(
            expected.abs().max()
        )


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("memory", [None, 1e6])
def test_gradients_switched_off_outside(mode, general, memory):
    model = Net(width=300)
    X = data(200)
    J = module_ntk.jacobian(model, X)
    expected = module_ntk.kernel(J)
    tolerance = 1e-11 * float(expected.abs().max())
    v = torch.linspace(-1, 1, 200, dtype=torch.float64)
    part = torch.tensor([7, 199, 3])

    def check(K):
        assert float((K @ v - expected @ v).abs().max()) <= 200 * tolerance
        assert float((K.tile(slice(2, 9), part) - expected[2:9, part]).abs().max()) <= tolerance
        assert float((K.diagonal() - expected.diagonal()).abs().max()) <= tolerance
        if memory is None:
            assert float((K.dense() - expected).abs().max()) <= tolerance

    with mode():
        K = ntk.empirical_ntk(model, X + 0, general=general, max_memory=memory)
        check(K)
        ntk.plan_kernel(model, X + 0, general=general)
        v = v + 0
    check(K)
    if memory is not None and not general:
        assert type(K).__name__ == "LazyKernel"


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = nn.Linear(5, 2).double()
    X = data()
    assert torch.allclose(
        ntk.empirical_ntk(model, X).dense(), 2 * (X @ X.T + 1), rtol=1e-12, atol=0
    )


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 2).double()

    def forward(self, a, b):
        return self.inner(a) * b


NET = Net()
NAMED = dict(NET.named_parameters())
MESSAGES = {
    "no params": (NET, {"params": []}, ValueError, "params is empty"),
    "weights": (
        NET, {"params": list(NET.parameters())}, TypeError, r"names .* a list of 4 \(Parameter\)$",
    ),
    "X2 width": (NET, {"X2": data()[:3, :4]}, ValueError, r"on X2 of shape \(3, 4\)"),
    "X2 count": (NET, {"X2": (data(3), data(3))}, ValueError, "1 inputs of the model and X2 2"),
    "meta": (nn.Linear(5, 2, device="meta"), {}, ValueError, "meta device"),
    "ignored": (
        lambda _, X: NET(X), {"params": NAMED}, ValueError, "does not use its params; call",
    ),
    "one argument": (
        lambda X: NET(X), {"params": NAMED}, TypeError, r"is not a function of \(params, X\)",
    ),
    "one argument, no params": (
        lambda X: NET(X), {}, TypeError, r"is not a function of \(params, X\)",
    ),
    "list": (Both(), {"X": [data(), data()[:, :2]]}, TypeError, "as a tuple of tensors"),
    "dict": (Both(), {"X": {"c": data()}}, ValueError, "unexpected keyword argument 'c'; leave out"),
    "class": (nn.Linear, {}, TypeError, "class Linear; give an instance"),
    "shape": (NET, {"X": data(6)[:, :4]}, ValueError, r"on X of shape \(6, 4\)"),
    "no running statistics": (
        nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False)).double().eval(), {},
        ValueError, "always normalises over the batch.*running statistics",
    ),
    "no such output": (NET, {"reduce": -3}, ValueError, "names no output"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_said(name):
    model, options, error, words = MESSAGES[name]
    given = {"X": data(), **options}
    with pytest.raises(error, match=words) as caught:
        ntk.empirical_ntk(model, **given)
    assert "tuple" not in str(caught.value) or name == "list"
    assert len(str(caught.value)) < 400


def test_sparse_gradients_of_an_embedding():
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Flatten(), nn.Linear(12, 2)).double()
    dense = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    dense.load_state_dict(model.state_dict())
    X = torch.randint(0, 10, (6, 3), generator=torch.Generator().manual_seed(0))
    expected = ntk.empirical_ntk(dense, X).dense()
    for general in (False, True):
        K = ntk.empirical_ntk(model, X, general=general).dense()
        assert float((K - expected).abs().max()) <= 1e-13 * float(expected.abs().max())


def test_a_hook_on_a_parameter_is_refused():
    model = Net()
    handle = model.inner.weight.register_hook(lambda g: 3 * g)
    with pytest.raises(ValueError, match=r"'inner\.weight' has a gradient hook"):
        ntk.empirical_ntk(model, data())
    with pytest.raises(ValueError, match="has a gradient hook"):
        ntk.empirical_ntk(lambda p, X: X @ p, data(), params=model.inner.weight)
    assert ntk.empirical_ntk(model, data(), params="outer.*") is not None
    handle.remove()
    assert ntk.empirical_ntk(model, data()) is not None


@pytest.mark.parametrize("mlp", [False, True])
def test_negative_outputs_count_from_the_end(mlp):
    model = ntk.Network([5, 6, 2], "tanh", "lecun").sample(0) if mlp else Net()
    for output in (0, 1):
        expected = ntk.empirical_ntk(model, data(), reduce=output).dense()
        assert torch.equal(ntk.empirical_ntk(model, data(), reduce=output - 2).dense(), expected)


class Recurrent(nn.Module):
    """Goes by a loop over samples, being packed; counts its passes, each of at least ``pause`` seconds."""

    def __init__(self, width, n_outputs, pause=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.GRU(8, width, batch_first=True).double()
            self.head = nn.Linear(width, n_outputs).double()
        self.pause, self.passes = pause, 0

    def forward(self, x):
        self.passes += 1
        time.sleep(self.pause)
        lengths = torch.full((len(x),), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.head(self.body(packed)[1][0])


def sequences(n):
    return torch.randn(n, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_one_loop_serves_all_parameters():
    """Their gradients, 48 MB, fit: a pass for each sample makes them all, for K and for K v."""
    model, X = Recurrent(64, 10), sequences(40)
    K = ntk.empirical_ntk(model, X)
    assert "loop" in ntk.plan_kernel(model, X).rows[0].way
    v = torch.linspace(-1, 1, 40, dtype=torch.float64)
    before = model.passes
    product = K @ v
    assert model.passes - before == 40
    before = model.passes
    dense = K.dense()
    assert model.passes - before == 40
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    scale = float(expected.abs().max())
    assert float((dense - expected).abs().max()) <= 1e-12 * scale
    assert float((product - expected @ v).abs().max()) <= 40 * 1e-12 * scale


def test_a_loop_in_little_memory_makes_no_more_passes_than_it_must():
    model, X = Recurrent(16, 3), sequences(30)
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    K = ntk.empirical_ntk(model, X, max_memory=2e6)
    before = model.passes
    assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    # 375 kB for a block of 30 kB a sample: 12 samples, and those after them for each block
    assert model.passes - before == 30 + 18 + 6


def test_the_plan_knows_the_time_of_a_loop():
    model, X = Recurrent(4, 2, pause=0.005), sequences(60)
    assert ntk.plan_kernel(model, X).seconds >= 60 * 0.005
