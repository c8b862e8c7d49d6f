"""Sharpness as an optimizer sees it, against dense matrices, a hand-written Adam and its own steps."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from ntkscope.training.preconditioner import preconditioner
from oracles.gauss_newton import gauss_newton, hessian

N, C = 7, 3
CLASSES = torch.arange(N) % C
EPS = 1e-3


def setting():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)).double()
        return model, torch.randn(N, 4, dtype=torch.float64)


def trained(model, X, optimizer, steps=4):
    """The gradients that the optimizer saw, flat."""
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), CLASSES).backward()
        seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())
        optimizer.step()
    return seen


def scale_by_hand(gradients, betas, eps, amsgrad=False):
    """P of Adam after these gradients, from its definition."""
    v, most = torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0])
    for g in gradients:
        v = betas[1] * v + (1 - betas[1]) * g**2
        most = torch.maximum(most, v)
    t = len(gradients)
    held = most if amsgrad else v
    return (1 - betas[0] ** t) * ((held / (1 - betas[1] ** t)).sqrt() + eps)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("part", ["hessian", "gauss_newton"])
def test_it_is_the_top_of_the_preconditioned_matrix(kind, amsgrad, part):
    model, X = setting()
    settings = {"lr": 0.02, "betas": (0.8, 0.95), "eps": EPS, "amsgrad": amsgrad}
    optimizer = kind(model.parameters(), **settings, weight_decay=0)
    P = scale_by_hand(trained(model, X, optimizer), (0.8, 0.95), EPS, amsgrad)
    dense = {"hessian": hessian, "gauss_newton": gauss_newton}[part]
    H = dense(model, (X,), CLASSES, F.cross_entropy)
    top = torch.linalg.eigvalsh(P.rsqrt()[:, None] * H * P.rsqrt())[-1]
    found = ntk.sharpness(
        model, X, CLASSES, optimizer=optimizer, gauss_newton=part == "gauss_newton", tol=1e-7
    )
    assert found.converged
    assert found.value == pytest.approx(float(top), rel=1e-6)
    assert found.threshold == pytest.approx(3.6 / 0.2)
    assert found.edge_step == found.threshold / found.value
    plain = torch.linalg.eigvalsh(H)[-1]
    assert abs(float(top) - float(plain)) > 0.1 * float(plain)  # P matters here


def test_an_inspection_says_the_optimizers_step():
    model, X = setting()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, eps=EPS)
    trained(model, X, optimizer)
    found = ntk.inspect(model, X, loss="cross_entropy", targets=CLASSES, optimizer=optimizer)
    expected = ntk.sharpness(model, X, CLASSES, optimizer=optimizer, gauss_newton=True)
    loss = found.loss
    assert (loss.optimizer, loss.preconditioned.value) == ("AdamW", expected.value)
    assert "AdamW step" in str(found)
    assert "curvature that AdamW sees" in found.to_html()
    assert found.to_dict()["loss"]["preconditioned"]["edge_step"] == expected.edge_step
    with pytest.raises(ValueError, match="steps on a loss"):
        ntk.inspect(model, X, optimizer=optimizer)


def test_adams_threshold_is_38_over_the_rate():
    model, X = setting()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trained(model, X, optimizer, 1)
    assert preconditioner(optimizer, model).edge == pytest.approx(3800)


def test_groups_of_several_rates_and_parts_of_the_parameters():
    model, X = setting()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]
    optimizer = torch.optim.Adam(groups, lr=0.05, eps=EPS)
    P = scale_by_hand(trained(model, X, optimizer), (0.9, 0.999), EPS)
    rates = torch.cat([torch.full((25,), 0.01), torch.full((18,), 0.05)]).double()
    H = hessian(model, (X,), CLASSES, F.cross_entropy)
    S = (rates / P).sqrt()
    top = torch.linalg.eigvalsh(S[:, None] * H * S)[-1]  # η included: compared with 38
    steps = preconditioner(optimizer, model)
    found = ntk.sharpness(model, X, CLASSES, optimizer=optimizer, tol=1e-7)
    assert found.value / steps.edge == pytest.approx(float(top) / 38, rel=1e-6)
    head = torch.optim.Adam(model[2].parameters(), lr=0.05, eps=EPS)
    trained(model, X, head)
    part = ntk.sharpness(model, X, CLASSES, optimizer=head, params="2.*", tol=1e-7)
    assert part.value > 0
    with pytest.raises(ValueError, match=r"does not hold 0\.weight, 0\.bias; pass params="):
        ntk.sharpness(model, X, CLASSES, optimizer=head)


SGD = {
    "plain": ({}, 2.0),
    "momentum": ({"momentum": 0.9}, 3.8),
    "averaged": ({"momentum": 0.9, "dampening": 0.9}, 38.0),
    "nesterov": ({"momentum": 0.9, "nesterov": True}, 3.8 / 2.8),
    "dampening without momentum": ({"dampening": 0.5}, 2.0),
}


@pytest.mark.parametrize("name", [*SGD, "adam"])
def test_steps_contract_below_the_threshold_and_not_above(name):
    """On a quadratic, by the optimizer itself; of Adam with its P frozen."""
    torch.manual_seed(0)
    X, Y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    start = nn.Linear(3, 2, bias=False).double()

    def sgd(rate, count=1500):
        model = nn.Linear(3, 2, bias=False).double()
        model.load_state_dict(start.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, **SGD[name][0])
        for _ in range(count):
            optimizer.zero_grad()
            loss = F.mse_loss(model(X), Y)
            loss.backward()
            optimizer.step()
        return float(F.mse_loss(model(X), Y).detach()) - best

    def adam(rate, count=1500):
        theta, m = start.weight.detach().clone(), torch.zeros(2, 3, dtype=torch.float64)
        for _ in range(count):
            g = X.T @ (X @ theta.T - Y) * 2 / Y.numel()
            m = 0.9 * m + 0.1 * g.T
            theta = theta - rate * m / P
        return float(F.mse_loss(X @ theta.T, Y)) - best

    best = float(F.mse_loss(X @ torch.linalg.lstsq(X, Y).solution, Y))
    if name == "adam":
        optimizer = torch.optim.Adam(start.parameters(), lr=1e-3, eps=EPS)
        F.mse_loss(start(X), Y).backward()
        optimizer.step()
        P = preconditioner(optimizer, start).scale["weight"]
    else:
        optimizer = torch.optim.SGD(start.parameters(), lr=1.0, **SGD[name][0])
        assert preconditioner(optimizer, start).threshold == pytest.approx(SGD[name][1])
    found = ntk.sharpness(start, X, Y, loss="mse", optimizer=optimizer, tol=1e-9)
    run = adam if name == "adam" else sgd
    with torch.no_grad() if name == "adam" else torch.enable_grad():
        assert run(0.98 * found.edge_step) < 1e-6
        assert not run(1.02 * found.edge_step, 300) < 1e-6


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_weight_decay_is_in_the_edge(kind):
    """Steps on a quadratic by hand, of Adam with its P frozen, against the edge."""
    w, beta = 20.0, {"SGD": 0.0, "Adam": 0.9, "AdamW": 0.9}[kind]
    model, X = setting()
    made = getattr(torch.optim, kind)
    optimizer = made(
        [
            {"params": model[0].parameters(), "weight_decay": w},
            {"params": model[2].parameters(), "weight_decay": 0.0, "lr": 2e-3},
        ],
        lr=1e-3, **({} if kind == "SGD" else {"eps": EPS}),
    )  # fmt: skip
    trained(model, X, optimizer)
    found = ntk.sharpness(
        model, X, CLASSES, optimizer=optimizer, gauss_newton=True, tol=1e-9, max_products=200
    )
    G = gauss_newton(model, (X,), CLASSES, F.cross_entropy)
    first = torch.arange(len(G)) < 25
    rates = torch.where(first, 1.0, 2.0).double()  # relative to η
    decay = torch.where(first, w, 0.0).double()
    P = torch.ones(len(G)).double()
    if kind != "SGD":
        state = [optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()]
        P = (1 - 0.9**4) * ((torch.cat(state) / (1 - 0.999**4)).sqrt() + EPS)

    def grown(eta, count=3000):
        theta = torch.ones(len(G)).double()
        m = torch.zeros_like(theta)
        for step in range(count):
            g = G @ theta + (0 if kind == "AdamW" else decay * theta)
            m = beta * m + (1 - beta) * g
            kept = 1 - eta * rates * decay if kind == "AdamW" else 1
            theta = kept * theta - eta * rates * m / P
            if step == count // 2:
                half = theta.norm()
        return float(theta.norm() / half)

    assert grown(0.99 * found.edge_step) <= 1.001
    assert grown(1.01 * found.edge_step) > 2
    assert found.value > w / 10  # the decay matters here


def test_a_schedule_that_ends_at_0_leaves_the_curvature():
    model, X = setting()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}]
    optimizer = torch.optim.Adam(groups, lr=0.05, eps=EPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    trained(model, X, optimizer)
    before = ntk.sharpness(model, X, CLASSES, optimizer=optimizer).value
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0, 0]
    assert ntk.sharpness(model, X, CLASSES, optimizer=optimizer).value == pytest.approx(before)
    assert preconditioner(optimizer, model).edge == math.inf


def test_an_optimizer_of_some_parameters_speaks_for_those_alone():
    model, X = setting()
    for kind in (torch.optim.SGD, torch.optim.Adam):
        head = kind(model[2].parameters(), lr=0.1)
        trained(model, X, head)
        with pytest.raises(ValueError, match=r"does not hold 0\.weight, 0\.bias; pass params="):
            ntk.sharpness(model, X, CLASSES, optimizer=head)
        assert ntk.sharpness(model, X, CLASSES, optimizer=head, params="2.*").value > 0
        other = kind(nn.Linear(2, 2).parameters(), lr=0.1)
        with pytest.raises(ValueError, match=r"holds none of 0\.weight.*pass the optimizer that"):
            ntk.sharpness(model, X, CLASSES, optimizer=other)


def test_frozen_and_unused_parameters_in_the_optimizer_do_not_matter():
    model, X = setting()
    model.unused = nn.Linear(2, 2).double()
    model.forward = lambda x: model[2](model[1](model[0](x)))
    model[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, eps=EPS)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(X), CLASSES).backward()
        optimizer.step()
    found = ntk.sharpness(model, X, CLASSES, optimizer=optimizer, tol=1e-7)
    part = ntk.sharpness(model, X, CLASSES, optimizer=optimizer, params="2.*", tol=1e-7)
    assert found.value == pytest.approx(part.value, rel=1e-6)
    model[0].requires_grad_(True)
    with pytest.raises(ValueError, match=r"not taken a step with 0\.weight, 0\.bias,"):
        ntk.sharpness(model, X, CLASSES, optimizer=optimizer)


def test_what_adam_has_seen_no_gradient_of_is_left_out():
    """A bias before BatchNorm: none in train mode, one in eval mode, where v̂ would say ε."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, C)
        ).double()  # fmt: skip
        X = torch.randn(N, 4, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trained(model.train(), X, optimizer, 20)
    model.eval()
    with pytest.warns(UserWarning, match=r"no gradients of 0\.bias .*left out") as said:
        found = ntk.sharpness(model, X, CLASSES, optimizer=optimizer)
    assert {w.filename for w in said} == {__file__}
    assert found.left_out == ("0.bias",)
    with pytest.warns(UserWarning, match="left out"):
        report = ntk.inspect(model, X, loss="cross_entropy", targets=CLASSES, optimizer=optimizer)
    assert "without 0.bias, of whose gradients" in " ".join(str(report).split())
    model[0].bias.requires_grad_(False)
    without = ntk.sharpness(model, X, CLASSES, optimizer=optimizer)
    assert without.left_out == ()
    assert found.value == pytest.approx(without.value, rel=1e-2)
    with pytest.raises(ValueError, match="measure the loss that it trains"):
        ntk.sharpness(
            model, X, CLASSES, loss=lambda f, y: 1e9 * F.cross_entropy(f, y), optimizer=optimizer
        )


def test_optimizers_that_say_nothing():
    model, X = setting()
    fresh = torch.optim.Adam(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="has not taken a step"):
        ntk.sharpness(model, X, CLASSES, optimizer=fresh)
    with pytest.raises(TypeError, match="SGD, Adam and AdamW, got RMSprop"):
        ntk.sharpness(model, X, CLASSES, optimizer=torch.optim.RMSprop(model.parameters()))
    groups = [
        {"params": model[0].parameters(), "momentum": 0.5}, {"params": model[2].parameters()}
    ]  # fmt: skip
    for bad, words in [
        (torch.optim.SGD(groups, lr=0.1), "differ in momentum"),
        (
            torch.optim.SGD(
                [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}],
                lr=0.1,
            ),
            "must be positive",
        ),
        (torch.optim.SGD(model.parameters(), lr=0.1, maximize=True), "maximizes"),
    ]:
        with pytest.raises(ValueError, match=words):
            preconditioner(bad, model)
    with pytest.raises(TypeError, match="a module's"):
        preconditioner(fresh, math.sin)
