"""The measures of the open questions, each against a second way to the same number."""

import pytest
import torch

import ntkscope as ntk
from ntkscope.papers.beyond import measured
from ntkscope.papers.beyond.seen import answer


def test_federated_averaging_of_one_client_is_gradient_descent():
    """With C = 1 and one local step a round is a step: the rounds are those of a loop by autograd."""
    found = measured.federated(0, clients=1, local=1, N=8, n=16, tol=0.3)
    model, X, Y = measured._instance(0, 8, 16)
    eta = 0.5 / float(torch.linalg.eigvalsh(ntk.empirical_ntk(model, X).dense())[-1])
    start = loss = 0.5 * (model(X)[:, 0] - Y).square().sum()
    steps = 0
    while loss.item() > 0.3 * start.item():
        gradients = torch.autograd.grad(loss, list(model.weights))
        with torch.no_grad():
            for weight, gradient in zip(model.weights, gradients, strict=True):
                weight -= eta * gradient
        steps += 1
        loss = 0.5 * (model(X)[:, 0] - Y).square().sum()
    assert found["rounds"] == steps
    assert found["reached"] == 1
    # one client: its kernel is the joint one, and the mean of one is itself
    assert found["local_least"] == pytest.approx(found["joint"], rel=1e-9)
    assert found["of_mean"] == found["of_clients"] == pytest.approx(found["of_shared"], rel=1e-9)
    assert found["rate"] == pytest.approx(eta * found["joint"], rel=1e-9)


def test_the_frozen_kernel_of_averaged_clients_is_the_limit_of_wide_ones():
    """Rounds by the linear recursion and by training agree where the network is wide."""
    found = measured.federated(1, clients=4, local=4, N=8, n=1000, tol=0.1)
    assert found["rounds"] == pytest.approx(found["linearised"], abs=1)
    assert found["of_mean"] == pytest.approx(found["joint"], rel=0.05)
    assert found["of_mean"] >= found["of_clients"] - 1e-12  # λ_min is concave
    assert found["rounds"] <= found["by_rate"] + 1


def test_local_steps_are_their_own_sum():
    K = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)
    expected = 0.1 * (eye + (eye - 0.1 * K) + (eye - 0.1 * K) @ (eye - 0.1 * K))
    assert torch.allclose(measured._steps(K, 0.1, 3), expected, rtol=1e-13)


def test_momentum_takes_the_steps_of_the_frozen_kernel_where_the_network_is_wide():
    for rule in ("gd", "momentum"):
        found = measured.descent(0, N=6, width=800, optimizer=rule, tol=1e-3)
        assert found["status"] == "converged"
        assert found["steps"] == pytest.approx(found["linearised"], abs=2)


def test_along_training_starts_at_one_and_finds_the_least():
    found = measured.along_training(0, position=2, N=10, steps=30)
    ratios = [v for k, v in found.items() if k.startswith("ratio_")]
    assert (found["ratio_0"], found["loss_0"], found["step_0"]) == (1.0, 1.0, 0)
    assert found["least"] == min(ratios)
    net = ntk.Network([20, 40, 80, 40, 40, 1], "relu", "he")
    X = torch.randn(10, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    K = ntk.empirical_ntk(net.sample(0), X).dense()
    assert found["lambda_min"] == pytest.approx(float(torch.linalg.eigvalsh(K)[0]), rel=1e-9)


def test_answers():
    assert answer("it falls", {"a": True, "b": True}) == "Seen in all 2 cases: it falls."
    assert answer("it falls", {"a": False}) == "Not seen in any of 1 cases: it falls."
    assert answer("it falls", {"a": True, "b": False}) == "It falls. Seen: a. Not seen: b."
