"""inspect of kernels as they are, and the steps of models with several outputs."""

import math

import pytest
import torch
from torch import nn

import ntkscope as ntk
from ntkscope.kernels.matrix import MatrixKernel
from oracles import module_ntk


def matrix(n=12):
    F = torch.randn(n, n + 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return F @ F.T


def module(outputs):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, outputs)).double()


X = ntk.data.gaussian(n_samples=8, dim=4, seed=1)
KERNELS = {
    "matrix": lambda: MatrixKernel(matrix()),
    "factors": lambda: ntk.empirical_ntk(ntk.Network([4, 20, 1]).sample(0), X),
    "module": lambda: ntk.empirical_ntk(module(2), X, max_memory=1e9),
    "general": lambda: ntk.empirical_ntk(module(2), X, general=True),
    "on demand": lambda: ntk.empirical_ntk(
        nn.Sequential(nn.Linear(4, 9000), nn.Tanh(), nn.Linear(9000, 1)).double(), X[:3],
        max_memory=1e6,
    ),
    "limit": lambda: ntk.limiting_kernel(
        ntk.Network([4, math.inf, 1], "relu", parameterization="ntk"), X
    ),
    "pairs": lambda: ntk.empirical_ntk(module(2), X, reduce="full"),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_inspected_without_data(name):
    K = KERNELS[name]()
    found = ntk.inspect(K)
    eigenvalues = torch.linalg.eigvalsh(K.dense())
    slack = 20 * len(K) * 2.3e-16 * float(eigenvalues[-1])
    assert found.smallest.lower - slack <= float(eigenvalues[0]) <= found.smallest.upper + slack
    assert found.largest.value == pytest.approx(float(eigenvalues[-1]), rel=1e-10)
    assert found.trace == pytest.approx(float(eigenvalues.sum()), rel=1e-10)
    assert sum(x.rayleigh for x in found.layers) == pytest.approx(
        float(eigenvalues[0]), rel=1e-6, abs=slack
    )
    assert found.data is None
    assert any("without data" in w for w in found.warnings)
    assert "not given" in str(found)
    assert type(K).__name__ in found.to_html()


def test_a_kernel_with_its_data_is_described_by_them():
    K = KERNELS["factors"]()
    found = ntk.inspect(K, X)
    assert found.data is not None
    assert found.data.n_samples == len(X)
    assert not any("without data" in w for w in found.warnings)
    with pytest.raises(ValueError, match="8 rows"):
        ntk.inspect(K, X[:5])


def test_what_is_asked_of_a_kernel_must_make_sense():
    model = module(1)
    with pytest.raises(ValueError, match="cross kernel"):
        ntk.inspect(ntk.empirical_ntk(model, X, X[:3]))
    with pytest.raises(ValueError, match="as it is"):
        ntk.inspect(KERNELS["matrix"](), reduce=0)
    with pytest.raises(TypeError, match="X is missing"):
        ntk.inspect(model)


@pytest.mark.parametrize("rows", [1000, 10], ids=["all eigenvalues", "by products"])
def test_steps_are_those_of_the_kernel_of_all_pairs(rows, monkeypatch):
    from ntkscope.inspection import pairs

    monkeypatch.setattr(pairs, "_FLOPS", float(rows) ** 3)
    C = 5
    model = module(C)
    J = module_ntk.jacobian(model, X)
    eigenvalues = torch.linalg.eigvalsh(module_ntk.kernel(J, reduce="full"))
    low, high = float(eigenvalues[0]), float(eigenvalues[-1])
    found = ntk.inspect(model, X)
    step = found.training
    # by products λ_max is bounded from above to 1e-3; the step is on the safe side
    accuracy = 1e-8 if rows == 1000 else 2e-3
    above = step.largest_stable_step + step.largest_stable_step_error
    assert step.largest_stable_step <= 2 / high * (1 + 1e-13) <= above * (1 + 2e-13)
    assert step.largest_stable_step == pytest.approx(2 / high, rel=accuracy)
    assert step.largest_stable_step_mse == pytest.approx(len(X) * C / high, rel=accuracy)
    # the trace kernel's would be another number by far
    assert abs(found.largest.value - high) > 0.2 * high
    many = step.steps["1/λ_max"]["1e+03"]
    if rows == 10:
        assert many is None
        assert any("GD steps" in w for w in found.warnings)
    else:
        assert many[0] - 1 <= math.log(1e3) / (-2 * math.log1p(-low / high)) <= many[1]
        assert found.memorization.possible is True


def test_the_loss_falls_below_the_step_and_grows_above():
    model = module(3)
    found = ntk.inspect(model, X).training
    Y = model(X).detach()
    v = torch.linalg.eigh(module_ntk.kernel(module_ntk.jacobian(model, X), reduce="full"))[1][:, -1]
    for share, falls in ((0.95, True), (1.05, False)):
        copy = module(3)
        target = Y + 1e-6 * v.reshape(Y.shape)  # so near that the model stays linear
        before = None
        for _ in range(30):
            loss = torch.nn.functional.mse_loss(copy(X), target)
            before = before or float(loss.detach())
            grads = torch.autograd.grad(loss, list(copy.parameters()))
            for p, g in zip(copy.parameters(), grads, strict=True):
                p.data -= share * found.largest_stable_step_mse * g
        assert (float(loss.detach()) < before) is falls


def test_infinite_widths_of_several_outputs_step_as_one():
    net = ntk.Network([4, math.inf, 3], "relu", parameterization="ntk")
    one = ntk.inspect(net, X, reduce=0).training
    assert ntk.inspect(net, X).training.largest_stable_step == pytest.approx(
        one.largest_stable_step, rel=1e-12
    )
