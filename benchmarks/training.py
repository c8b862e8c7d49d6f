"""Training: the closed-form step against its matrix products and autograd; curvature; memorization."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import ntkscope as ntk
from benchmarks._common import record
from ntkscope.training.gradients import GradientStep
from ntkscope.training.tradeoff import curvature_scaling

N, WIDTH = 1000, 512


def _alternate(runs: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Seconds of the fastest round of each, taken in turn so that all see the same machine."""
    best = [float("inf")] * len(runs)
    for run in runs:
        run()
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def _products(dim: int) -> Callable[[], None]:
    """The matrix products of one step on dim-512-512-1, into buffers, and nothing else."""
    X = torch.randn(N, dim, dtype=torch.float64)
    F = torch.randn(N, WIDTH, dtype=torch.float64)
    G, r = torch.empty_like(F), torch.randn(N, 1, dtype=torch.float64)
    W1, W2 = torch.randn(dim, WIDTH).double(), torch.randn(WIDTH, WIDTH).double()
    w = torch.randn(WIDTH, 1, dtype=torch.float64)

    def run() -> None:
        torch.mm(X, W1, out=G)
        torch.mm(F, W2, out=G)
        torch.mm(F, w, out=r)
        torch.mm(r, w.T, out=G)
        w.addmm_(F.T, r, alpha=-1e-300)
        torch.mm(F, W2.T, out=G)
        W2.addmm_(F.T, F, alpha=-1e-300)
        W1.addmm_(X.T, F, alpha=-1e-300)

    return run


def step(activation: str, dim: int = WIDTH, rounds: int = 30) -> dict[str, Any]:
    """One gradient step at N = 1000, widths dim-512-512-1, float64."""
    net = ntk.Network([dim, WIDTH, WIDTH, 1], activation)
    X = ntk.data.gaussian(n_samples=N, dim=dim, seed=0)
    Y = torch.sign(X[:, 0])
    closed = GradientStep(net.sample(0), X, Y)
    model = net.sample(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)

    def autograd() -> None:
        optimizer.zero_grad()
        (0.5 * ((model(X)[:, 0] - Y) ** 2).sum()).backward()
        optimizer.step()

    floor, ours, theirs = _alternate([_products(dim), lambda: closed(1e-9), autograd], rounds)
    return {
        "what": f"gradient step, {activation}, N = {N}, {dim}-{WIDTH}-{WIDTH}-1",
        "floor_ms": 1e3 * floor, "closed_form_ms": 1e3 * ours, "autograd_ms": 1e3 * theirs,
        "over_floor": ours / floor, "autograd_over_ours": theirs / ours,
    }  # fmt: skip


def hessian(activation: str) -> dict[str, Any]:
    """Hessian norms of 100 samples at 64-512-512-1."""
    model = ntk.Network([64, WIDTH, WIDTH, 1], activation, "he", "ntk").sample(0)
    norms = ntk.hessian_norms(model, ntk.data.gaussian(n_samples=100, dim=64, seed=0))
    return {
        "what": f"Hessian norms of 100 samples, {activation}, 64-{WIDTH}-{WIDTH}-1",
        "seconds": norms.seconds, "products": norms.products, "converged": norms.converged,
        "relative_residual": norms.error / norms.maximum,
    }  # fmt: skip


def memorization() -> dict[str, Any]:
    """memorize at 1500 digits."""
    digits = ntk.data.load("digits:N=1500")
    fitted = ntk.memorize(ntk.Network([64, 1024, 512, 1]), digits.X, digits.y, tol=1e-6, seed=0)
    return {
        "what": "memorize, 1500 digits, 64-1024-512-1", "seconds": fitted.seconds,
        "error": fitted.error, "reached": fitted.reached, "rounds": fitted.rounds,
        "lambda_min": fitted.lambda_min.value, "lambda_min_error": fitted.lambda_min.error,
    }  # fmt: skip


def linearisation(activation: str, widths: tuple[int, ...], networks: int = 8) -> dict[str, Any]:
    """How the distance of observed and linearised loss falls with the width."""
    X = ntk.data.sphere(n_samples=20, dim=10, seed=1)
    gaps = []
    for n in widths:
        found = []
        for seed in range(networks):
            model = ntk.Network([10, n, n, 1], activation, "he", "ntk").sample(seed)
            with torch.no_grad():
                Y = torch.sign(X[:, 0]) + model(X)[:, 0]  # one residual at every width
            found.append(ntk.train(model, X, Y, ntk.Recipe(steps=300, probes=2)).mismatch)
        gaps.append(float(np.mean(found)))
    fit, cov = np.polyfit(np.log(widths), np.log(gaps), 1, cov=True)
    return {
        "what": f"max |√L − √L̂|/√L_0 over the width, {activation}", "widths": list(widths),
        "mismatch": gaps, "exponent": float(fit[0]), "exponent_error": float(cov[0, 0] ** 0.5),
    }  # fmt: skip


def curvature(widths: tuple[int, ...]) -> dict[str, Any]:
    """The Hessian's norm over the width at θ_0, tanh, two hidden layers, Banerjee's initialization."""
    net = ntk.Network([50, 1, 1, 1], "tanh", "banerjee2023", "ntk")
    X = ntk.data.sphere(n_samples=10, dim=50, seed=0)
    return {"what": "max ‖∇²f‖ over the width", **curvature_scaling(net, X, widths).to_dict()}


def main() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))
    rows = [step("relu"), step("tanh"), hessian("tanh"), hessian("relu"), memorization()]
    rows += [linearisation(a, (64, 128, 256, 512)) for a in ("tanh", "relu")]
    rows.append(curvature((128, 256, 512, 1024)))
    record("training", rows)


if __name__ == "__main__":
    main()
