"""Sharpness of models whose operations differentiate once, or differently in each of torch's modes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from ntkscope._base.samples import as_samples
from ntkscope.kernels.loss.make import loss_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.prepared import Options
from ntkscope.training import second_derivative
from ntkscope.training.pushforward import Rows, pushforward
from ntkscope.training.share import Shares
from oracles.gauss_newton import gauss_newton, hessian

N, C = 8, 3
CLASSES = torch.arange(N) % C


class Own(torch.autograd.Function):
    """tanh."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


class Once(Own):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


class InNumPy(Own):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * torch.from_numpy(1 - np.tanh(x.detach().numpy()) ** 2)


class WrongForward(Once):
    @staticmethod
    def jvp(_, t):
        return 2 * t


class RightForward(Once):
    @staticmethod
    def jvp(ctx, t):
        (x,) = ctx.saved_tensors
        return t * (1 - x.tanh() ** 2)


def distances(x):
    return -torch.cdist(x, torch.linspace(-1, 1, 16, dtype=x.dtype).reshape(4, 4))


def stopped(x):
    return x.tanh() / (1 + x.detach() ** 2)


class Model(nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.middle, self.first, self.last = middle, nn.Linear(6, 4), nn.Linear(4, C)

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


def setting(middle, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = Model(middle).to(dtype), torch.randn(N, 6).to(dtype)
    with torch.no_grad():
        model.first.weight *= 3
    return model, X


# what a layer rounds to is said by a warning of its own
pytestmark = pytest.mark.filterwarnings("ignore:Model rounds to torch.float32")
MIDDLES = {
    "once_differentiable": Once.apply, "NumPy": InNumPy.apply, "no forward mode": Own.apply,
    "a wrong forward mode": WrongForward.apply, "a forward mode": RightForward.apply,
    "cdist": distances, "detach": stopped, "tanh": torch.tanh,
    "float32": lambda x: (x.float() ** 2).exp().to(x.dtype),
}  # fmt: skip


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("chunk", [None, 3])
def test_the_gauss_newton_matrix_needs_no_second_derivative(name, chunk):
    model, X = setting(MIDDLES[name])
    G = torch.linalg.eigvalsh(gauss_newton(model, (X,), CLASSES, F.cross_entropy))[-1]
    tol = 1e-4 if name == "float32" else 1e-8
    found = ntk.sharpness(model, X, CLASSES, gauss_newton=True, tol=tol, chunk_size=chunk)
    assert found.converged
    assert found.value == pytest.approx(float(G), rel=10 * tol)
    assert found.unseen is None


REFUSED = {
    "once_differentiable": "backward pass of Once is not differentiable",
    "NumPy": "backward pass of InNumPy is not differentiable",
    "cdist": "no second derivative.*_cdist_backward.*gauss_newton=True",
    "detach": "holds a value constant",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("params", [None, "first.*"])
def test_a_hessian_with_parts_cut_off_is_refused(name, params):
    model, X = setting(MIDDLES[name])
    with pytest.raises(ValueError, match=REFUSED[name]):
        ntk.sharpness(model, X, CLASSES, params=params)


def test_a_comparison_that_is_no_number_is_no_agreement(monkeypatch):
    model, X = setting(MIDDLES["tanh"])
    unknown = lambda few, v: (torch.full_like(v, torch.nan), 0.0)  # noqa: ARG005, E731
    monkeypatch.setattr(second_derivative, "_finite_difference", unknown)
    with pytest.raises(ValueError, match="differs from a finite difference"):
        ntk.sharpness(model, X, CLASSES)


@pytest.mark.parametrize("name", ["no forward mode", "tanh"])
def test_a_whole_hessian_passes_its_check(name):
    model, X = setting(MIDDLES[name])
    H = torch.linalg.eigvalsh(hessian(model, (X,), CLASSES, F.cross_entropy))[-1]
    found = ntk.sharpness(model, X, CLASSES, tol=1e-8)
    assert found.value == pytest.approx(float(H), rel=1e-7)
    assert found.unseen < 1e-6


def to_float32(x):
    return F.relu(x.float()).to(x.dtype)


def float32_alone(x):
    return F.relu(x @ torch.eye(4))


@pytest.mark.parametrize("middle", [F.relu, to_float32, float32_alone])
def test_kinks_and_single_precision_do_not_fail_the_check(middle):
    model, X = setting(middle, torch.float32)
    found = ntk.sharpness(model, X, CLASSES)
    assert 0 < found.unseen < 0.05


def test_a_root_at_zero_is_said():
    model, X = setting(lambda x: x + (x - x).norm(dim=1, keepdim=True) * x)
    with pytest.raises(ValueError, match="second derivative is NaN or infinite"):
        ntk.sharpness(model, X, CLASSES)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("tanh", "_by_forward"), ("a forward mode", "_by_forward"), ("float32", "_by_forward"),
        ("no forward mode", "_by_two_backward"), ("a wrong forward mode", "Rows"), ("cdist", "Rows"),
    ],
)  # fmt: skip
def test_the_cheapest_way_that_holds_is_taken(name, way):
    model, X = setting(MIDDLES[name])
    prepared = PreparedModule(model, as_samples(X), Options())
    found = pushforward(Shares(prepared, loss_of(prepared, "cross_entropy", CLASSES)).few())
    assert getattr(found, "__name__", type(found).__name__) == way


def test_a_jacobian_too_large_to_hold_is_refused(monkeypatch):
    from ntkscope._base import memory

    model, X = setting(distances)
    prepared = PreparedModule(model, as_samples(X), Options())
    shares = Shares(prepared, loss_of(prepared, "cross_entropy", CLASSES))
    monkeypatch.setattr(memory, "available", lambda: 10.0)
    with pytest.raises(MemoryError, match=r"Jacobian of 3 outputs.*give its operations a jvp"):
        Rows()(shares.few(), torch.zeros(prepared.subject.n_parameters).double())


class Experts(nn.Module):
    """The last samples alone use the second."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, C), Model(Once.apply)

    def forward(self, x):
        late = x[:, :1] > 10
        return torch.where(late, self.second(x / 10), self.first(x))


def test_the_check_is_of_samples_that_use_the_parameters():
    model = Experts().double()
    X = torch.randn(N, 6, generator=torch.Generator().manual_seed(0)).double()
    X[-2:, 0] = 20
    with pytest.raises(ValueError, match="backward pass of Once"):
        ntk.sharpness(model, X, CLASSES, params="second.*")
    G = torch.linalg.eigvalsh(ntk.gauss_newton_kernel(model, X, CLASSES, params="second.*").dense())
    found = ntk.sharpness(model, X, CLASSES, params="second.*", gauss_newton=True, tol=1e-8)
    assert found.value == pytest.approx(float(G[-1]), rel=1e-7)
