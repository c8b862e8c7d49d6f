"""Bombari et al. 2022, Proposition H.1 and Theorem 4.2: the loss under gradient descent.

Proposition H.1 needs nothing beyond eq. 21. Let r_t = F_L(θ_t) − Y, η ≤ 1/(2β²). On a segment in the ball
r_(t+1) = r_t − η(J_t + E)J_tᵀr_t with ‖E‖ ≤ α²/(2β), and ‖J_tᵀr_t‖ ≥ α‖r_t‖, so that
‖r_(t+1)‖ ≤ ‖(I − ηJ_tJ_tᵀ)r_t‖ + ηα²/2 ‖r_t‖ ≤ (1 − ηα²/2)‖r_t‖, and also
‖r_(t+1)‖ ≤ ‖r_t‖ − (α/4)‖θ_(t+1) − θ_t‖, by which the path stays in the ball.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.networks.mlp import MLP
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import setting
from ntkscope.papers.bombari2022.ball import certificate, largest_singular
from ntkscope.papers.bombari2022.boost import NEEDS, labels, start, tell
from ntkscope.papers.bombari2022.descent import require
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity
from ntkscope.training.boost import gamma_of, theorem_gamma
from ntkscope.training.gradients import GradientStep

STEPS = (1, 2, 5, 10, 20, 50)


@PAPER.statement(
    "proposition-h.1",
    title="The rate that eq. 21 gives",
    section="§4 (Proposition H.1)",
    sentence=(
        "Where eq. 21 holds, gradient descent with η ≤ 1/(2β²) has ‖F_L(θ_t) − Y‖² ≤ (1 − ηα²/2)^t "
        "‖F_L(θ_0) − Y‖² and stays in the ball."
    ),
    latex=r"\|F_L(\theta_t)-Y\|^2\le(1-\tfrac{\eta\alpha^2}{2})^t\|F_L(\theta_0)-Y\|^2,\qquad \tfrac\alpha4\sum_t\|\theta_{t+1}-\theta_t\|\le\|F_L(\theta_0)-Y\|",
    needs=NEEDS,
    level2="both along gradient descent at η = 1/(2β²), α and β of the bound over the ball where that proves eq. 21",
)
def rate_of_condition(i: Instance, out: Findings) -> None:
    j = start(i)
    tell(i, j, out)
    if require(j, out) is None:
        raise NotComputable("eq. 21 is neither proved nor refuted at this θ_0")
    Y = labels(j)
    first = float(torch.linalg.vector_norm(j.G(j.L)[:, 0].double() - Y))
    found = certificate(j, first)
    eta = 1 / (2 * found.beta**2)
    if not math.isfinite(found.beta) or eta * found.alpha**2 < 1e-14:
        raise NotComputable("β of the bound over the ball is too large for a step to be seen")
    factor = 1 - eta * found.alpha**2 / 2
    for step, loss, path in descend(j, Y, eta, STEPS):
        out.conclude_at_most(f"‖F_L(θ_{step}) − Y‖² ≤ (1 − ηα²/2)^{step} ‖F_L(θ_0) − Y‖²", 2 * loss,
                             factor**step * first**2, key="rate", t=step)  # fmt: skip
        out.conclude_at_most(f"(α/4) Σ_(s<{step}) ‖θ_(s+1) − θ_s‖ ≤ ‖F_L(θ_0) − Y‖",
                             0.25 * found.alpha * path, first, key="path", t=step)  # fmt: skip
    out.note(
        f"α = {found.alpha:.4g}, β = {found.beta:.4g}, R = {found.radius:.4g}, η = {eta:.4g}: the loss "
        f"halves in {math.log(0.5) / math.log(factor):.4g} steps or fewer."
    )


@PAPER.statement(
    "theorem-4.2",
    title="Optimization by gradient descent",
    section="Theorem 4.2, eq. 20",
    sentence=(
        "From the paired start with γ = d³N² and η ≤ C/(γNdn_(L-1)) the loss falls at least like "
        "(1 − cηγ n_(L-2) n_(L-1))^t."
    ),
    latex=r"\mathcal{L}(\theta_t)\le(1-c\,\eta\gamma n_{L-2}n_{L-1})^t\,\mathcal{L}(\theta_0)",
    needs=NEEDS,
    level2="the smallest 1 − (L_t/L_0)^(1/t) over 50 steps at η = 1/(2‖J(θ_0)‖²), against ηγ n_(L-2) n_(L-1)",
)
def optimization(i: Instance, out: Findings) -> None:
    j = start(i)
    setting(j, out)
    tell(i, j, out)
    gamma, theirs = gamma_of(j.network), theorem_gamma(j.network, j.N)
    out.hypothesis("γ = d³N²", math.isclose(gamma, theirs), gamma, theirs)
    Y, half = labels(j), j.n[j.L - 1] / 2
    size = float(torch.linalg.vector_norm(Y))
    out.order_of("‖Y‖ = Θ(√N)", size, math.sqrt(j.N), at_least=None)
    norm = largest_singular(j)
    if norm == 0:
        raise NotComputable("J(θ_0) = 0, so no step moves the network")
    eta = 1 / (2 * norm**2)
    out.order_of("η = O(1/(γNdn_(L-1)))", eta, 1 / (gamma * j.N * j.d * half), at_least=False,
                 note="η = 1/(2‖J(θ_0)‖²) is run")  # fmt: skip
    first = 0.5 * float((j.G(j.L)[:, 0].double() - Y).square().sum())
    rows, rates = [], []
    for step, loss, _ in descend(j, Y, eta, STEPS):
        # 1 − (L_t/L_0)^(1/t), without cancellation
        share = Quantity(loss.value / first, loss.error / first)
        rate = Quantity(-math.expm1(math.log(max(share.value, 1e-300)) / step),
                        share.error / (step * max(share.value, 1e-300)))  # fmt: skip
        rates.append(rate)
        rows.append((step, share.value, rate.value))
    out.table("Gradient descent", ("t", "L(θ_t)/L(θ_0)", "1 − (L_t/L_0)^(1/t)"), rows)
    unit = eta * gamma * j.n[j.L - 2] * half
    out.conclusion("rate of the loss, the slowest t", min(rates, key=float), "Ω", unit,
                   "ηγ n_(L-2) n_(L-1)", key="rate",
                   note="n_(L-1) is half of the paired layer, as in eq. 18")  # fmt: skip


def descend(
    j: Instance, Y: Tensor, eta: float, steps: tuple[int, ...]
) -> list[tuple[int, Quantity, float]]:
    """(t, ½‖F(θ_t) − Y‖² with its rounding, length of the path so far) at the steps named."""
    model = MLP(j.network, [w.detach().clone() for w in j.model.weights])
    descent = GradientStep(model, j.X.to(model.dtype), Y.to(model.dtype))
    found, path = [], 0.0
    for t in range(max(steps) + 1):
        before = [w.detach().clone() for w in model.weights]
        loss = float(descent.forward())
        if t in steps:
            level = math.sqrt(2 * descent.rounding() * 2 * loss) * j.n[j.L - 1]
            found.append((t, Quantity(loss, level + 2 * descent.rounding() * j.n[j.L - 1]), path))
        descent.backward(eta)
        path += math.sqrt(sum(float((w.detach() - b).square().sum())
                              for w, b in zip(model.weights, before, strict=True)))  # fmt: skip
    return found
