"""Bombari et al. 2022, eq. 21: the condition for gradient descent."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import mlp_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import setting
from ntkscope.papers.bombari2022.gradients import pull_back
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U


@PAPER.statement(
    "eq-21",
    title="The condition for gradient descent",
    section="eq. 21 (Proposition H.1)",
    sentence=(
        "In the ball of radius R = 4‖F_L(θ_0) − Y‖/α the Jacobian keeps its singular values between "
        "α and β and moves by at most α²/(2β)."
    ),
    latex=r"\alpha\le\sigma_{\min}(J(\theta))\le\|J(\theta)\|\le\beta,\quad \|J(\theta_1)-J(\theta_2)\|\le\tfrac{\alpha^2}{2\beta}",
    level2="|σ(J(θ_1)) − σ(J(θ_2))| ≤ ‖J(θ_1) − J(θ_2)‖ for the smallest and the largest (Weyl)",
)
def gradient_descent_condition(i: Instance, out: Findings) -> None:
    setting(i, out)
    alpha = math.sqrt(max(i.lambda_K.value, 0.0))
    if i.lambda_K.lower <= 0:
        raise NotComputable("K is singular at θ_0 to working precision, so α = 0")
    beta = math.sqrt(float(torch.linalg.eigvalsh(i.K)[-1]))
    Y = torch.randn(i.N, generator=i.generator("eq-21"), dtype=torch.float64)
    residual = i.G(i.L)[:, 0] - Y
    radius = 4 * float(torch.linalg.vector_norm(residual)) / alpha
    allowed = alpha**2 / (2 * beta)
    found = _moves(i, residual, radius)
    if not found:
        raise NotComputable("the network overflows everywhere that was tried in the ball")
    rows = []
    steepest = 0.0
    for name, distance, kernel, move in found:
        values = torch.linalg.eigvalsh(kernel)
        low, high = math.sqrt(max(float(values[0]), 0.0)), math.sqrt(float(values[-1]))
        # a σ below √(N u)·‖J‖ is rounding of its square
        bar = math.sqrt(64 * sum(i.n) * i.N * U) * max(high, beta)
        moved = Quantity(move, bar)
        out.at_least(f"‖J(θ) − J(θ_0)‖ ≥ |σ_min(J(θ)) − α|, {name}", moved, abs(low - alpha),
                     key="smallest", at_point=name)  # fmt: skip
        out.at_least(f"‖J(θ) − J(θ_0)‖ ≥ |‖J(θ)‖ − β|, {name}", moved, abs(high - beta),
                     key="largest", at_point=name)  # fmt: skip
        rows.append((name, distance, low, high, move))
        # of a step whose change of J is rounding the quotient says nothing
        steepest = max(steepest, (move - bar) / distance)
    largest = max(row[4] for row in rows)
    columns = ("θ", "‖θ − θ_0‖", "σ_min(J)", "‖J‖", "‖J(θ) − J(θ_0)‖")
    out.table("Points of the ball around θ_0", columns, rows)
    refuted = largest > allowed
    note = "refuted" if refuted else "not refuted by the points tried; the supremum is not computed"
    out.hypothesis("eq. 21: ‖J(θ_1) − J(θ_2)‖ ≤ α²/(2β) in the ball", False if refuted else None,
                   largest, allowed, note)  # fmt: skip
    out.scaling("α² at θ_0", alpha**2, "Ω", i.beta[i.L] ** 2 * i.n[i.L - 2] * i.n[i.L - 1],
                "β_L² n_(L-2) n_(L-1)", key="alpha")  # fmt: skip
    out.scaling("R", radius, "O", math.sqrt(i.N) / alpha, "√N/α", key="radius")
    out.scaling("Lipschitz constant of θ ↦ J(θ) in the ball, from below", steepest, "O",
                allowed / radius, "α²/(2βR), what eq. 21 allows over the whole ball",
                key="lipschitz")  # fmt: skip
    out.note(f"Labels Y ~ N(0, I); α = {alpha:.4g}, β = {beta:.4g}, R = {radius:.4g}.")


def _moves(i: Instance, residual: Tensor, radius: float) -> list[tuple[str, float, Tensor, float]]:
    """(name, ‖θ − θ_0‖, kernel at θ, ‖J(θ) − J(θ_0)‖) on the ball's boundary and near its centre."""
    values = [p.detach() for p in i.model.parameters()]
    generator = i.generator("eq-21 ball")
    directions = {
        f"random {k + 1}": [torch.randn(p.shape, generator=generator).to(p) for p in values]
        for k in range(2)
    }
    directions["down the gradient"] = [-g for g in pull_back(i, residual)]
    found = []
    for (name, direction), share in itertools.product(directions.items(), (1.0, 0.01)):
        norm = math.sqrt(sum(float(t.square().sum()) for t in direction))
        step = share * radius
        moved = _moved(i.model, [t * (step / max(norm, 1e-300)) for t in direction])
        X = i.X.to(i.model.dtype)
        try:
            kernel = mlp_ntk(moved, X)
        except ValueError:
            continue  # the network overflows there
        here, there = i.K, kernel.dense()
        difference = here + there - _cross(i.kernel, kernel) - _cross(kernel, i.kernel)
        top = float(torch.linalg.eigvalsh((difference + difference.T) / 2)[-1])
        found.append((f"{name}, {share:g} R", step, there, math.sqrt(max(top, 0.0))))
    return found


def _moved(model: MLP, direction: list[Tensor]) -> MLP:
    """The network at θ_0 + direction."""
    values = [p.detach() + t for p, t in zip(model.parameters(), direction, strict=True)]
    count = len(model.weights)
    return MLP(model.network, values[:count], values[count:] or None)


def _cross(left: HadamardKernel, right: HadamardKernel) -> Tensor:
    """J(θ_1) J(θ_2)ᵀ from the factors of both kernels."""
    total: Tensor | None = None
    for a, b in zip(left.terms, right.terms, strict=True):
        part: Tensor | None = None
        for x, y in ((a.features, b.features), (a.signals, b.signals)):
            if x is not None and y is not None:
                gram = x.rows @ y.rows.T
                part = gram if part is None else part * gram
        if part is not None:
            total = part * a.scale if total is None else total + part * a.scale
    if total is None:
        raise ValueError("a kernel needs at least one term")
    return total
