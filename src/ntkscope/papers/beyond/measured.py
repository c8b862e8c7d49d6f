"""What the open questions' figures measure: the kernel along training, momentum, averaged clients."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from ntkscope.data import Sphere
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.training.dynamics import train
from ntkscope.training.gradients import GradientStep
from ntkscope.training.outcome import Training
from ntkscope.training.recipe import Recipe

PROBES = 12


def along_training(seed: int, *, position: int, N: int, steps: int) -> dict[str, Any]:
    """λ_min(K_t)/λ_min(K_0) and the loss along gradient descent, the wide layer at ``position`` of four.

    He ReLU network on N(0, I_20) data and N(0, 1) labels; 8N neurons in the wide layer and 40 in the others;
    half of the stable step size. Columns ``step_k``, ``ratio_k``, ``loss_k`` of the k-th probe.
    """
    widths = [8 * N if k == position else 40 for k in range(1, 5)]
    generator = torch.Generator().manual_seed(seed)
    X, Y = (torch.randn(N, d, generator=generator, dtype=torch.float64) for d in (20, 1))
    net = Network([20, *widths, 1], "relu", "he")
    found = train(
        net.sample(seed), X, Y[:, 0],
        Recipe(steps=steps, eta="lambda_max:fraction=0.5", probes=PROBES),
    )  # fmt: skip
    first = found.probes[0]
    made: dict[str, Any] = {"status": found.status, "lambda_min": first.lambda_min.value}
    for k, probe in enumerate(found.probes):
        made |= {
            f"step_{k}": probe.step,
            f"ratio_{k}": probe.lambda_min.value / first.lambda_min.value,
            f"loss_{k}": probe.loss / first.loss,
        }
    made["least"] = min(p.lambda_min.value for p in found.probes) / first.lambda_min.value
    return made


def descent(seed: int, *, N: int, width: int, optimizer: str, tol: float) -> dict[str, Any]:
    """Steps until the loss is ``tol`` of its start, by gradient descent or heavy-ball momentum.

    tanh, two hidden layers, sphere in d = 16, N(0, 1) labels. η = 1/λ_max(K_0) for gradient descent;
    for the heavy ball (Polyak 1964) η = 4/(√λ_max + √λ_min)², β = ((√κ − 1)/(√κ + 1))², the best on a
    quadratic of K_0's condition number κ.
    """
    model, X, Y = _instance(seed, N, width)
    spectrum = torch.linalg.eigvalsh(empirical_ntk(model, X).dense())
    low, high = float(spectrum[0]), float(spectrum[-1])
    kappa = high / low
    if optimizer == "gd":
        rule, eta, pace = "gd", 1.0 / high, kappa
    else:
        root = math.sqrt(kappa)
        beta = ((root - 1.0) / (root + 1.0)) ** 2
        eta, pace = 4.0 / (math.sqrt(high) + math.sqrt(low)) ** 2, root
        rule = f"momentum:beta={beta!r}"
    # a bound on the steps: ten times what the slowest mode takes on the quadratic
    steps = math.ceil(10.0 * pace * math.log(1.0 / tol))
    found = train(model, X, Y, Recipe(steps=steps, optimizer=rule, eta=eta, probes=2, tol=tol))
    return {
        "condition": kappa, "lambda_min": low, "status": found.status,
        "steps": found.steps, "linearised": _linearised_steps(found, tol),
        "ratio": found.probes[-1].lambda_min.value / low,
    }  # fmt: skip


def _linearised_steps(found: Training, tol: float) -> int:
    """The first step at which the loss of the frozen kernel is ``tol`` of its start, by doubling and halving."""

    def below(step: int) -> bool:
        predicted = found.predicted([0, step])
        assert predicted is not None
        return bool(predicted[1] <= tol * predicted[0])

    high = 1
    while not below(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if below(middle) else (middle, high)
    return high


def federated(seed: int, *, clients: int, local: int, N: int, n: int, tol: float) -> dict[str, Any]:
    """Federated averaging: rounds until the loss is ``tol`` of its start, and the kernels of the clients.

    Each of C clients holds N/C samples and takes ``local`` steps of gradient descent on its own loss from the
    shared weights, whose mean is the next round's. With K frozen, a client's steps move the weights by
    −J_cᵀA_c r_c, A_c = η Σ_{e<local} (1 − ηK_cc)^e, so that r ← (1 − KA/C) r, A = diag(A_c) by blocks: the
    rate is λ_min(KA)/C.
    """
    model, X, Y = _instance(seed, N, n)
    parts = torch.arange(N).chunk(clients)
    K = empirical_ntk(model, X).dense()
    blocks = [K[p][:, p] for p in parts]
    eta = 0.5 / max(float(torch.linalg.eigvalsh(b)[-1]) for b in blocks)
    A = torch.block_diag(*(_steps(b, eta, local) for b in blocks))
    root = torch.linalg.cholesky(A)
    rates = torch.linalg.eigvalsh(root.T @ K @ root) / clients
    first = empirical_ntk(model, X)
    residual = GradientStep(model, X, Y)
    start = float(residual.forward())
    linear = _linear_rounds(
        torch.eye(N, dtype=K.dtype) - K @ A / clients, residual.residual.clone(), tol
    )
    made: dict[str, Any] = {
        "joint": float(torch.linalg.eigvalsh(first.dense())[0]),
        "local_least": min(float(torch.linalg.eigvalsh(b)[0]) for b in blocks),
        "rate": float(rates[0]), "linearised": linear,
        "by_rate": math.log(1.0 / math.sqrt(tol)) / -math.log1p(-float(rates[0])),
    }  # fmt: skip
    shared, rounds, loss = copy.deepcopy(model), 0, start
    while loss > tol * start and rounds < 5 * linear:
        trained = [_local(shared, X[p], Y[p], eta, local) for p in parts]
        _average(shared, trained)
        if rounds == 0:
            made |= _kernels(trained, shared, X)
        loss = float(GradientStep(shared, X, Y).forward())
        rounds += 1
    end = float(torch.linalg.eigvalsh(empirical_ntk(shared, X).dense())[0])
    return made | {"rounds": rounds, "reached": int(loss <= tol * start), "end": end}


def _instance(seed: int, N: int, n: int) -> tuple[MLP, Tensor, Tensor]:
    X = Sphere(16).sample(N, seed)
    generator = torch.Generator().manual_seed(seed)
    Y = torch.randn(N, generator=generator, dtype=torch.float64)
    return Network([16, n, n, 1], "tanh", "he", "ntk").sample(seed), X, Y


def _steps(K: Tensor, eta: float, count: int) -> Tensor:
    """η Σ_{e<count} (1 − ηK)^e."""
    values, vectors = torch.linalg.eigh(K)
    powers = (1.0 - eta * values)[:, None] ** torch.arange(count, dtype=K.dtype)
    return (vectors * (eta * powers.sum(1))) @ vectors.T


def _linear_rounds(step: Tensor, residual: Tensor, tol: float) -> int:
    target, rounds = tol * float(residual.square().sum()), 0
    while float(residual.square().sum()) > target:
        residual = step @ residual
        rounds += 1
    return rounds


def _local(shared: MLP, X: Tensor, Y: Tensor, eta: float, count: int) -> MLP:
    model = copy.deepcopy(shared)
    step = GradientStep(model, X, Y)
    for _ in range(count):
        step(eta)
    return model


@torch.no_grad()
def _average(shared: MLP, trained: list[MLP]) -> None:
    for target, *given in zip(shared.weights, *(m.weights for m in trained), strict=True):
        target.copy_(torch.stack([g.detach() for g in given]).mean(0))


def _kernels(trained: list[MLP], shared: MLP, X: Tensor) -> dict[str, float]:
    """λ_min on all samples of the clients' kernels, of their mean, and of the kernel of the mean weights."""
    kernels = [empirical_ntk(m, X).dense() for m in trained]
    own = [float(torch.linalg.eigvalsh(k)[0]) for k in kernels]
    mean = torch.stack(kernels).mean(0)
    return {
        "of_clients": sum(own) / len(own), "of_mean": float(torch.linalg.eigvalsh(mean)[0]),
        "of_shared": float(torch.linalg.eigvalsh(empirical_ntk(shared, X).dense())[0]),
    }  # fmt: skip
