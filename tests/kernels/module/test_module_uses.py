"""Uses of a parameter that look like a layer's and are not quite: right on the default way, checked or not."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from oracles import module_ntk


class Made(nn.Module):
    """``forward`` of its parameters W (3, 4) or as given, b, and a head."""

    def __init__(self, run, W=(3, 4), b=(3,), head=(3, 2)):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.randn(W)), nn.Parameter(torch.randn(b))
        self.head, self.run = nn.Linear(*head), run

    def forward(self, x):
        return self.run(self, x)


def of_a_layer(layer):
    return lambda m, x: m.head(torch.tanh(layer(m, x)))


def force(m, x):
    """−∂E/∂x."""
    z = x.detach().requires_grad_()
    energy = m.head(F.softplus(F.linear(z, m.W, m.b))).sum()
    return -torch.autograd.grad(energy, z, create_graph=True)[0]


def penalised(m, x):
    """A layer before the gradient, and one behind it."""
    z = torch.tanh(F.linear(x, m.W, m.b))
    if not z.requires_grad:
        z.requires_grad_()
    slope = torch.autograd.grad(z.pow(3).sum(), z, create_graph=True)[0]
    return m.head(z * slope)


def hooked(which):
    def run(m, x):
        W = torch.tanh(m.W)
        hidden = F.linear(x, W, m.b)
        y = m.head(torch.tanh(hidden))
        tensor = {"weight": W, "hidden": hidden, "output": y}[which]
        if tensor.requires_grad:
            tensor.register_hook(lambda g: 3 * g)
        return y

    return run


def spectrum(m, x):
    z = torch.fft.rfft(F.pad(x, (0, 2)))  # four numbers
    return m.head(torch.fft.irfft(z * m.W[0] * torch.complex(m.W[1], m.W[2]))[:, :3] + m.b)


def time_first(values):
    """(tokens · samples, features), the samples fastest."""

    def run(m, x):
        n, T, d = x.shape
        folded = values(x.transpose(0, 1).reshape(T * n, d))
        y = torch.tanh(F.linear(folded, m.W, m.b)).view(T, n, -1)
        return m.head((y * x.transpose(0, 1)[..., :3]).sum(0))

    return run


def halves(m, x):
    """Conditional and not, both of nothing."""
    a, b = F.linear(x.new_zeros(2 * len(x), 4), m.W, m.b).chunk(2)
    return m.head(torch.tanh(a) * b * x[:, :3] + 2 * a)


def in_place(change, back):
    def run(m, x):
        y = F.linear(x, m.W) + m.b
        change(y)
        return m.head(torch.tanh(back(y)))

    return run


def split(m, x):
    return m.head(torch.cat([torch.tanh(F.linear(part, m.W) + m.b) for part in x.split(4)]))


def squeezed(m, x):
    """Without the samples' axis where there is one sample."""
    y = torch.tanh(F.linear(x, m.W).squeeze() + m.b)
    return m.head(y.view(len(x), -1))


USES = {
    "samples split": (Made(split), (7, 4)),
    "axes squeezed": (Made(squeezed), (7, 4)),
    "a force": (Made(force), (7, 4)),
    "behind a gradient": (Made(penalised), (7, 4)),
    "one bias for all units": (Made(of_a_layer(lambda m, x: F.linear(x, m.W, m.b)), b=(1,)), (7, 4)),
    "addmm with one bias": (Made(of_a_layer(lambda m, x: torch.addmm(m.b, x, m.W.T)), b=(1,)), (7, 4)),
    "addmm with a number": (Made(of_a_layer(lambda m, x: torch.addmm(m.b, x, m.W.T)), b=()), (7, 4)),
    "addmm with a row": (Made(of_a_layer(lambda m, x: torch.addmm(m.b, x, m.W.T)), b=(1, 3)), (7, 4)),
    "complex numbers": (Made(spectrum), (7, 4)),
    "a hook on a weight": (Made(hooked("weight")), (7, 4)),
    "a hook on a layer": (Made(hooked("hidden")), (7, 4)),
    "a hook on the output": (Made(hooked("output")), (7, 4)),
    "time first, ones": (Made(time_first(torch.ones_like)), (7, 3, 4)),
    "time first, dead": (Made(time_first(lambda z: torch.relu(z - 100))), (7, 3, 4)),
    "halves of nothing": (Made(halves), (7, 4)),
    "unsqueezed in place": (Made(in_place(lambda y: y.unsqueeze_(1), lambda y: y[:, 0])), (7, 4)),
    "transposed in place": (Made(in_place(lambda y: y.t_(), lambda y: y.T)), (7, 4)),
}  # fmt: skip


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("reduce", ["trace", "full"])
@pytest.mark.parametrize("name", USES)
def test_kernels_are_the_jacobians(name, reduce, checked):
    model, shape = USES[name]
    model = model.double()
    for n in (shape[0], 1):
        X = torch.randn(
            n, *shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        expected = module_ntk.kernel(module_ntk.jacobian(model, X), reduce=reduce)
        K = ntk.empirical_ntk(model, X, reduce=reduce, self_check=checked)
        assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def test_signals_of_the_last_layer_are_not_held():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 100)).double()
    X = torch.randn(8, 4, dtype=torch.float64)
    K = ntk.empirical_ntk(model, X)
    assert K.nbytes_factors < 8 * 100 * 100 * 8 / 10
    expected = module_ntk.kernel(module_ntk.jacobian(model, X))
    assert float((K.dense() - expected).abs().max()) <= 1e-12 * float(expected.max())
