"""Gradient descent against autograd, closed forms, and the spectrum's prediction."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ntkscope as ntk
from ntkscope.kernels.mlp import backprop
from ntkscope.training.boost import gamma_of, theorem_gamma, with_theorem_gamma
from ntkscope.training.checkpoints import load_model, save_model
from ntkscope.training.dynamics import StabilityWarning, probe_steps, train
from ntkscope.training.gradients import GradientStep, jacobian_transpose
from ntkscope.training.probes import jacobian_change
from ntkscope.training.rates import fit_rate, linearised_modes
from ntkscope.training.recipe import Checkpoint, Recipe
from oracles.gradients import descent_step
from oracles.jacobian import jacobian

EPS = torch.finfo(torch.float64).eps


SHAPES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["plain", "ntk", "biases", "residual", "paired"]),
        "activation": st.sampled_from(["relu", "tanh", "sigmoid", "softplus:beta=2", "identity"]),
        "d": st.integers(1, 6),
        "hidden": st.lists(st.integers(2, 9), min_size=1, max_size=3),
    }
)


def network(shape):
    """A small network of one of the kinds that have one output."""
    kind, d, hidden = shape["kind"], shape["d"], list(shape["hidden"])
    if kind == "residual":
        return ntk.Network(
            [4] * (len(hidden) + 1) + [1], shape["activation"], residual=0.5, parameterization="ntk"
        )
    if kind == "paired":
        hidden[-1] *= 2
        return ntk.Network([d, *hidden, 1], shape["activation"], "bombari2022-paired:gamma=7")
    return ntk.Network(
        [d, *hidden, 1], shape["activation"], "he", "ntk" if kind != "plain" else "standard",
        bias_std=0.3 if kind == "biases" else None,
    )  # fmt: skip


def sample(net, N, seed):
    X = ntk.data.gaussian(n_samples=N, dim=net.dim, seed=seed)
    Y = torch.randn(N, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return net.sample(seed), X, Y


@settings(deadline=None, max_examples=40)
@given(shape=SHAPES, N=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_a_step_is_autograds(shape, N, seed):
    net = network(shape)
    model, X, Y = sample(net, N, seed)
    expected = descent_step(model, X, Y, 1e-2)
    loss = 0.5 * float(((model(X)[:, 0] - Y) ** 2).sum().detach())
    got = GradientStep(model, X, Y)(1e-2)
    assert float(got) == pytest.approx(loss, rel=1e-12, abs=1e-25)
    size = max(float(e.abs().max()) for e in expected)
    for p, e in zip(model.parameters(), expected, strict=True):
        assert float((p - e).detach().abs().max()) <= 1e4 * EPS * max(1.0, size)


@settings(deadline=None, max_examples=20)
@given(shape=SHAPES, N=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_jacobian_transpose_and_change_are_autograds(shape, N, seed):
    net = network(shape)
    model, X, Y = sample(net, N, seed)
    J = jacobian(model, X)[:, 0]
    alpha = Y
    got = torch.cat(
        [t.reshape(-1) for t in jacobian_transpose(model, backprop(model, X, [0]), alpha)]
    )
    scale = float(J.abs().max()) * float(alpha.abs().sum()) + 1e-300
    assert float((got - J.T @ alpha).abs().max()) <= 1e4 * EPS * scale
    before = backprop(model, X, [0])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.sin(torch.arange(p.numel(), dtype=p.dtype)).reshape(p.shape))
    expected = float(torch.linalg.matrix_norm(jacobian(model, X)[:, 0] - J, 2))
    change = jacobian_change(
        before, backprop(model, X, [0]), [s * s for s in net.scales], bool(len(model.biases))
    )
    # an eigenvalue of the Gram matrix is good to ε‖·‖², so the norm to √ε of the factors' size
    assert change == pytest.approx(expected, rel=1e-8, abs=1e-7 * (1 + scale))


@settings(deadline=None, max_examples=25)
@given(
    half=st.integers(1, 40), other=st.integers(1, 70), d=st.integers(1, 30),
    N=st.integers(1, 50), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_the_paired_start_is_zero_in_every_bit(half, other, d, N, seed):
    net = with_theorem_gamma(ntk.Network([d, other, 2 * half, 1], "tanh", "bombari2022-paired"), N)
    assert gamma_of(net) == theorem_gamma(net, N) == float(d) ** 3 * N**2
    model, X, Y = sample(net, N, seed)
    assert bool((model(X) == 0).all())
    step = GradientStep(model, X, Y)
    step.forward()
    assert torch.equal(step.residual[:, 0], -Y)


def test_a_linear_network_follows_its_closed_form():
    # orthonormal inputs, rank-one aligned weights: f = a²Xβ with a ← a − ηa(a² − s), and in
    # continuous time a² = s/(1 + (s/a₀² − 1) e^{−2st})
    X = torch.linalg.qr(ntk.data.gaussian(n_samples=6, dim=4, seed=0))[0]
    beta, u = torch.zeros(4).double(), torch.zeros(5).double()
    beta[1], u[2] = 1.0, 1.0
    s, a, eta, steps = 1.7, 0.3, 4e-3, 600
    model = ntk.MLP.from_weights([a * torch.outer(beta, u), a * u[:, None]], "identity")
    result = train(model, X, s * X @ beta, Recipe(steps=steps, eta=eta, probes=3))
    losses, strengths = [], []
    for _ in range(steps + 1):
        strengths.append(a * a)
        losses.append(0.5 * (a * a - s) ** 2)
        a -= eta * a * (a * a - s)
    assert np.allclose(result.losses.numpy(), losses, rtol=1e-11, atol=1e-28)
    t = eta * torch.arange(steps + 1).double()
    flow = s / (1 + (s / 0.09 - 1) * torch.exp(-2 * s * t))
    assert float((torch.tensor(strengths) - flow).abs().max()) < 2 * s * s * eta


def test_one_sample_and_its_geometric_rate():
    model, X, Y = sample(ntk.Network([3, 400, 1], "tanh", "he", "ntk"), 1, 5)
    result = train(model, X, Y, Recipe(steps=30, eta="lambda_max:fraction=0.05"))
    assert result.predicted().shape == result.losses.shape
    assert result.mismatch < 0.1
    assert result.rate_lambda_min().constant == pytest.approx(2 - 0.1, rel=0.15)


def width_errors(widths, seeds, activation="tanh"):
    out = []
    for n in widths:
        gaps = []
        for seed in range(seeds):
            net = ntk.Network([10, n, n, 1], activation, "he", "ntk")
            X = ntk.data.sphere(n_samples=12, dim=10, seed=1)
            Y = torch.sign(X[:, 0])
            model = net.sample(seed)
            with torch.no_grad():
                Y = Y + model(X)[:, 0]  # the same residual at every width
            gaps.append(train(model, X, Y, Recipe(steps=60, probes=2)).mismatch)
        out.append(float(np.mean(gaps)))
    return np.array(out)


def test_linearised_and_observed_meet_as_the_width_grows():
    widths = [64, 128, 256, 512]
    gaps = width_errors(widths, seeds=4)
    slope = np.polyfit(np.log(widths), np.log(gaps), 1)[0]
    assert slope < -0.4, f"mismatch {gaps} at widths {widths}: slope {slope:.2f}"


@pytest.mark.parametrize("optimizer", ["gd", "momentum:beta=0.8", "adam", "sgd:batch=5,beta=0.5"])
def test_interrupted_training_resumes_bit_for_bit(optimizer, tmp_path):
    model, X, Y = sample(ntk.Network([4, 16, 16, 1], "relu"), 20, 3)
    whole = train(model, X, Y, Recipe(steps=40, optimizer=optimizer, seed=9))
    path = tmp_path / "run" / "state.pt"

    train(
        model, X, Y, Recipe(steps=24, optimizer=optimizer, seed=9), checkpoint=Checkpoint(path, 8)
    )
    resumed = train(
        model, X, Y, Recipe(steps=40, optimizer=optimizer, seed=9),
        checkpoint=Checkpoint(path, 8, resume=True),
    )  # fmt: skip
    for p, q in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(p, q)
    common = {int(s): float(v) for s, v in zip(resumed.loss_steps, resumed.losses, strict=True)}
    for s, v in zip(whole.loss_steps, whole.losses, strict=True):
        assert common.get(int(s), float(v)) == float(v)
    assert resumed.probes[-1].lambda_min.value == whole.probes[-1].lambda_min.value


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    model, X, Y = sample(ntk.Network([4, 8, 1], "relu"), 6, 3)
    path = tmp_path / "state.pt"
    with pytest.raises(FileNotFoundError, match="no training checkpoint"):
        train(model, X, Y, Recipe(steps=4), checkpoint=Checkpoint(path, resume=True))
    train(model, X, Y, Recipe(steps=4), checkpoint=Checkpoint(path))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(model, X, Y + 1, Recipe(steps=8), checkpoint=Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match="beyond the 2"):
        train(model, X, Y, Recipe(steps=2), checkpoint=Checkpoint(path, resume=True))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is no training checkpoint"):
        train(model, X, Y, Recipe(steps=8), checkpoint=Checkpoint(path, resume=True))


def test_a_large_step_is_warned_of_and_stopped():
    model, X, Y = sample(ntk.Network([5, 30, 30, 1], "identity", "he", "ntk"), 10, 0)
    with pytest.warns(StabilityWarning, match="exceeds the stability limit"):
        result = train(model, X, Y, Recipe(steps=5000, eta="lambda_max:fraction=3"))
    assert result.status == "diverged"
    assert result.steps < 5000
    last = float(result.losses[-1])
    assert not math.isfinite(last) or last > 1e6 * float(result.losses[0])
    assert "diverged" in str(result)


def test_below_the_limit_nothing_is_said(recwarn):
    model, X, Y = sample(ntk.Network([5, 30, 1], "tanh"), 5, 0)
    result = train(model, X, Y, Recipe(steps=50, tol=0.5, eta="lambda_max:fraction=0.9"))
    assert not recwarn.list
    assert result.status == "converged"
    assert result.notes == ()


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_the_linear_recursion_is_the_dense_one(momentum):
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    values, U = torch.linalg.eigh(A @ A.T)
    r = torch.randn(5, generator=generator, dtype=torch.float64)
    eta, v, direct = 0.3 / float(values[-1]), torch.zeros(5).double(), []
    x = r.clone()
    for _ in range(12):
        direct.append(U.T @ x)
        v = momentum * v + A @ (A.T @ x)
        x = x - eta * v
    got = linearised_modes(values, U.T @ r, eta, list(range(12)), momentum)
    assert torch.allclose(got, torch.stack(direct), rtol=0, atol=1e-13)


def test_momentum_follows_its_prediction():
    model, X, Y = sample(ntk.Network([6, 900, 1], "tanh", "he", "ntk"), 8, 2)
    result = train(model, X, Y, Recipe(steps=40, optimizer="momentum:beta=0.6"))
    assert result.mismatch < 0.1
    assert train(model, X, Y, Recipe(steps=5, optimizer="adam")).mismatch is None


def test_the_fitted_rate_bounds_every_step_and_touches_one():
    model, X, Y = sample(ntk.Network([6, 64, 64, 1], "tanh", "bombari2022-paired:gamma=50"), 10, 2)
    result = train(model, X, Y, Recipe(steps=300))
    for rate in (result.rate_theorem(), result.rate_lambda_min()):
        bound = rate.bound(float(result.losses[0]), result.loss_steps)
        excess = (result.losses / bound)[1:]
        assert float(excess.max()) <= 1 + 1e-9
        assert float(excess.max()) > 1 - 1e-9
    assert fit_rate("x", 0.0, result.loss_steps, result.losses, 0.0).constant != 0.0  # nan


def test_adam_and_sgd_lower_the_loss():
    model, X, Y = sample(ntk.Network([6, 64, 1], "relu"), 20, 2)
    for optimizer, eta in (("adam", 1e-3), ("sgd:batch=4", "lambda_max:fraction=0.1")):
        result = train(model, X, Y, Recipe(steps=150, optimizer=optimizer, eta=eta))
        assert float(result.losses[-1]) < 0.5 * float(result.losses[0])
        assert result.probes[-1].step == 150


def test_saved_networks_load_bit_for_bit(tmp_path):
    model = ntk.Network([3, 4, 1], "leaky_relu:alpha=0.2", bias_std=0.1).sample(0)
    save_model(model, tmp_path / "net.pt")
    loaded = load_model(tmp_path / "net.pt")
    assert loaded.network == model.network
    for p, q in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(p, q)
    custom = ntk.Network([3, 4, 1], torch.cos).sample(0)
    with pytest.raises(ValueError, match="Python code"):
        save_model(custom, tmp_path / "custom.pt")


def test_the_model_passed_in_is_left_alone():
    model, X, Y = sample(ntk.Network([3, 8, 1]), 4, 0)
    before = [p.detach().clone() for p in model.parameters()]
    train(model, X, Y, Recipe(steps=3))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_probe_steps_start_at_zero_and_end_at_the_end():
    for steps, count in ((1, 2), (7, 3), (1000, 12), (5, 50)):
        chosen = probe_steps(steps, count)
        assert chosen[0] == 0
        assert chosen[-1] == steps
        assert len(chosen) <= count + 1
        assert chosen == sorted(set(chosen))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"probes": 1}, "probes must be"),
        ({"tol": 2.0}, "tol must lie"),
        ({"optimizer": "adagrad"}, "unknown optimizer"),
        ({"optimizer": "adam:beta=0.1"}, "did you mean"),
        ({"optimizer": "sgd:batch=0"}, "batch must be a positive integer"),
        ({"optimizer": "sgd:batch=99"}, "exceeds the 5 samples"),
        ({"optimizer": "momentum:beta=1"}, "must lie in"),
        ({"eta": -1.0}, "eta must be positive"),
        ({"eta": "theorm"}, "did you mean 'theorem'"),
        ({"eta": "theorem:C=-1"}, "C must be positive"),
    ],
)
def test_bad_recipes_are_refused(change, message):
    model, X, Y = sample(ntk.Network([3, 8, 1]), 5, 0)
    with pytest.raises(ValueError, match=message):
        train(model, X, Y, Recipe(**{"steps": 3, **change}))


def test_bad_labels_are_refused():
    model, X, Y = sample(ntk.Network([3, 8, 1]), 5, 0)
    with pytest.raises(ValueError, match="one label for each of the 5 samples"):
        train(model, X, Y[:4], Recipe(steps=3))
    with pytest.raises(ValueError, match="one column"):
        train(model, X, torch.zeros(5, 2), Recipe(steps=3))
    with pytest.raises(TypeError, match="return_inverse"):
        train(model, X, np.array(list("abcde")), Recipe(steps=3))
    with pytest.raises(ValueError, match="features, the network takes 3"):
        train(model, X[:, :2], Y, Recipe(steps=3))
    two = ntk.Network([3, 8, 2]).sample(0)
    with pytest.raises(ValueError, match="one output"):
        train(two, X, Y, Recipe(steps=3))
    with pytest.raises(TypeError, match="MLP"):
        train(torch.nn.Linear(3, 1), X, Y, Recipe(steps=3))


def test_integer_labels_are_numbers():
    model, X, _ = sample(ntk.Network([3, 8, 1]), 5, 0)
    as_int = train(model, X, [0, 1, 2, 1, 0], Recipe(steps=3))
    as_float = train(model, X, [0.0, 1.0, 2.0, 1.0, 0.0], Recipe(steps=3))
    assert torch.equal(as_int.losses, as_float.losses)


def test_the_prediction_is_that_of_linearized_training():
    from ntkscope.training.linearized import LinearizedTraining

    model, X, Y = sample(ntk.Network([5, 40, 1], "tanh", "he", "ntk"), 9, 1)
    result = train(model, X, Y, Recipe(steps=20, probes=3))
    with torch.no_grad():
        kernel = LinearizedTraining(ntk.empirical_ntk(model, X), Y, f0=model(X)[:, 0])
    for t in (0, 7, 20):
        expected = 0.5 * float(((kernel.descent(t, result.eta).train - Y) ** 2).sum())
        assert float(result.predicted()[t]) == pytest.approx(expected, rel=1e-10)


def test_nothing_to_do_and_nothing_that_can_be_done():
    net = ntk.Network([3, 8, 6, 1], "relu", "bombari2022-paired")
    X = ntk.data.gaussian(n_samples=4, dim=3, seed=0)
    fitted = train(net.sample(0), X, torch.zeros(4), Recipe(steps=5))
    assert fitted.status == "converged"
    assert fitted.steps == 0
    assert fitted.mismatch is None
    fitted.to_dict()
    dead = ntk.MLP.from_weights([torch.zeros(3, 4), torch.zeros(4, 1)], "relu")
    with pytest.raises(ValueError, match="the kernel is zero"):
        train(dead, X.float(), [1.0, 2.0, 3.0, 4.0], Recipe(steps=5))


def test_more_samples_than_parameters_trains_without_a_rate_of_lambda_min():
    model, X, Y = sample(ntk.Network([2, 4, 1]), 50, 0)
    result = train(model, X, Y, Recipe(steps=20))
    assert result.probes[0].lambda_min.status is ntk.Status.RANK_DEFICIENT
    assert result.rate_lambda_min() is None
    assert result.condition().radius == math.inf
    assert not result.condition().holds
