"""Bombari et al. 2022, eq. 21: the condition for gradient descent, and the γ that it needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import mlp_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import setting
from ntkscope.papers.bombari2022.ball import certificate, largest_singular
from ntkscope.papers.bombari2022.boost import NEEDS, labels, start, tell, with_gamma
from ntkscope.papers.bombari2022.gradients import pull_back
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import U
from ntkscope.training.boost import gamma_of, theorem_gamma

CONDITION = "eq. 21 in the ball of radius 4‖F_L(θ_0) − Y‖/α"


@dataclass(frozen=True)
class Condition:
    """Eq. 21 at a θ_0, from both sides, as ratios of what is asked for to what there is.

    refuted: ‖J(θ) − J(θ_0)‖ at the points tried over α²/(2β), with the most generous α and β (those of
    θ_0): above 1 no α and β satisfy eq. 21. proved: from the bound over the ball; at most 1 proves it.
    """

    refuted: float
    proved: float

    @property
    def met(self) -> bool | None:
        """Whether eq. 21 holds; None where neither side decides."""
        if self.refuted > 1:
            return False
        return True if self.proved <= 1 else None


def condition(j: Instance) -> Condition:
    """Eq. 21 at the instance's own θ_0, computed once."""

    def make() -> Condition:
        return Condition(refutation(j), proof(j))

    found: Condition = j.held("eq. 21", make)
    return found


def require(j: Instance, out: Findings) -> bool | None:
    """Eq. 21 as a hypothesis; returns whether it is met."""
    found = condition(j)
    if found.met is None:
        note = f"not refuted by the points tried; the bound over the ball is {found.proved:.3g} times too large"
    else:
        note = "by the bound over the ball" if found.met else "refuted at a point of the ball"
    measured = found.proved if found.met else found.refuted
    return out.hypothesis(CONDITION, found.met, measured, 1.0, note + "; asked for/allowed")


def proof(j: Instance) -> float:
    """The certificate's ratio; infinite where there is no bound over the ball."""
    try:
        return certificate(j, _residual_norm(j)).ratio
    except NotComputable:
        return math.inf


def refutation(j: Instance, shares: tuple[float, ...] = (1.0,)) -> float:
    """The largest ‖J(θ) − J(θ_0)‖ found in the ball over α²/(2β) of θ_0."""
    least, most = _singular(j)
    moved = max((m.moved - m.rounding for m in moves(j, 4 * _residual_norm(j) / least, shares)),
                default=0.0)  # fmt: skip
    return max(moved, 0.0) / (least**2 / (2 * most))


def _singular(j: Instance) -> tuple[float, float]:
    """(σ_min, ‖·‖) of J(θ_0)."""
    if j.lambda_K.lower <= 0:
        raise NotComputable("K is singular at θ_0 to working precision, so α = 0")
    return math.sqrt(j.lambda_K.value), largest_singular(j)


def _residual(j: Instance) -> Tensor:
    return j.G(j.L)[:, 0].double() - labels(j)


def _residual_norm(j: Instance) -> float:
    return float(torch.linalg.vector_norm(_residual(j)))


@PAPER.statement(
    "eq-21",
    title="The condition for gradient descent",
    section="eq. 21 (Proposition H.1)",
    sentence=(
        "In the ball of radius R = 4‖F_L(θ_0) − Y‖/α the Jacobian keeps its singular values between "
        "α and β and moves by at most α²/(2β)."
    ),
    latex=r"\alpha\le\sigma_{\min}(J(\theta))\le\|J(\theta)\|\le\beta,\quad \|J(\theta_1)-J(\theta_2)\|\le\tfrac{\alpha^2}{2\beta}",
    needs=NEEDS,
    level2="refuted at points of the ball, or proved by a bound over the whole ball with explicit constants",
)
def gradient_descent_condition(i: Instance, out: Findings) -> None:
    j = start(i)
    tell(i, j, out)
    least, most = _singular(j)
    radius = 4 * _residual_norm(j) / least
    allowed = least**2 / (2 * most)
    met = require(j, out)
    if met:
        found = certificate(j, _residual_norm(j))
        out.conclude_at_most("2 sup ‖J(θ) − J(θ_0)‖ ≤ α²/(2β)", 2 * found.moved, found.allowed,
                             key="proved")  # fmt: skip
    rows = []
    for move in moves(j, radius, (1.0, 0.01)):
        values = torch.linalg.eigvalsh(move.kernel)
        low, high = math.sqrt(max(float(values[0]), 0.0)), math.sqrt(float(values[-1]))
        rows.append((move.name, move.distance, low, high, move.moved))
    if not rows:
        raise NotComputable("the network overflows everywhere that was tried in the ball")
    columns = ("θ", "‖θ − θ_0‖", "σ_min(J)", "‖J‖", "‖J(θ) − J(θ_0)‖")
    out.table("Points of the ball around θ_0", columns, rows)
    largest = max(row[4] for row in rows)
    out.conclusion("‖J(θ) − J(θ_0)‖ in the ball, from below", largest, "O", allowed,
                   "α²/(2β) of θ_0; eq. 21 asks for a constant of 1", key="moved")  # fmt: skip
    out.step_order("R", radius, "O", math.sqrt(j.N) / least, "√N/α", key="radius")
    out.note(
        f"Labels Y ~ N(0, I); at θ_0 σ_min(J) = {least:.4g}, ‖J‖ = {most:.4g}, R = {radius:.4g}."
    )


@PAPER.statement(
    "gamma",
    title="The smallest boost at which eq. 21 holds",
    section="Theorem 4.2's γ = d³N²",
    sentence="With γ = d³N² eq. 21 holds at the paired start, for N, d and the widths large enough.",
    latex=r"\gamma=d^3N^2\ \Rightarrow\ \text{eq. 21}",
    needs=NEEDS,
    level2="the γ up to which points of the ball refute eq. 21, and the γ at which the bound over the ball proves it",
)
def smallest_gamma(i: Instance, out: Findings) -> None:
    j = start(i)
    setting(j, out)
    theirs = theorem_gamma(j.network, j.N)
    refuted, _ = threshold(j, theirs, refutation)
    _, proved = threshold(j, theirs, proof)
    at = with_gamma(j, theirs) if gamma_of(j.network) != theirs else j
    here = condition(at)
    out.conclusion("γ up to which eq. 21 is refuted", refuted, "O", theirs, "d³N²", key="refuted",
                   note="γ = d³N² suffices only where this is at most 1")  # fmt: skip
    if math.isfinite(proved):
        out.conclusion("γ at which eq. 21 is proved", proved, "O", theirs, "d³N²", key="proved",
                       note="γ = d³N² suffices where this is at most 1")  # fmt: skip
    out.table("γ", ("d³N²", "refuted up to", "proved at", "asked/allowed at d³N², from below",
              "the same, from above"),
              [(theirs, refuted, proved, here.refuted, here.proved)])  # fmt: skip
    out.note("The smallest γ at which eq. 21 holds lies between the two; labels Y ~ N(0, I).")


def threshold(
    j: Instance, first: float, ratio: Callable[[Instance], float], rounds: int = 6
) -> tuple[float, float]:
    """(the largest γ tried with ratio > 1, the smallest with ratio ≤ 1), close to each other.

    J(θ_0) grows like √γ and the ball shrinks like 1/√γ, so the ratio falls about like 1/√γ.
    """
    above, below, gamma = 0.0, math.inf, first
    for _ in range(rounds):
        found = ratio(with_gamma(j, gamma))
        if found > 1:
            above = max(above, gamma)
        else:
            below = min(below, gamma)
        if below <= 1.2 * above:
            break
        # aim a little beyond 1 from either side
        aim = found / (0.98 if found > 1 else 1.02)
        gamma *= min(max(aim**2, 1e-12), 1e12)
        if not above < gamma < below:
            gamma = math.sqrt(max(above, below * 1e-12) * min(below, max(above, 1.0) * 1e12))
        if not 0 < gamma < 1e200:
            break
    return above, below


@dataclass(frozen=True)
class Move:
    """The Jacobian at a point of the ball against that at θ_0."""

    name: str
    distance: float
    kernel: Tensor
    moved: float
    rounding: float


def moves(j: Instance, radius: float, shares: tuple[float, ...]) -> list[Move]:
    """‖J(θ) − J(θ_0)‖ at two random points and one down the gradient, at shares of the radius."""
    values = [p.detach() for p in j.model.parameters()]
    generator = j.generator("eq-21 ball")
    directions = {
        f"random {k + 1}": [torch.randn(p.shape, generator=generator).to(p) for p in values]
        for k in range(2)
    }
    directions["down the gradient"] = [-g for g in pull_back(j, _residual(j))]
    found = []
    for (name, direction), share in itertools.product(directions.items(), shares):
        norm = math.sqrt(sum(float(t.square().sum()) for t in direction))
        step = share * radius
        moved = _moved(j.model, [t * (step / max(norm, 1e-300)) for t in direction])
        try:
            kernel = mlp_ntk(moved, j.X.to(j.model.dtype))
        except ValueError:
            continue  # the network overflows there
        cross = _cross(j.kernel, kernel)
        there = kernel.dense()
        difference = j.K + there - cross - cross.T
        top = float(torch.linalg.eigvalsh((difference + difference.T) / 2)[-1])
        # the square of a move below √u·‖J‖ is rounding of the three kernels
        size = float(j.K.diagonal().sum() + there.diagonal().sum())
        rounding = math.sqrt(64 * sum(j.n) * U * size)
        found.append(Move(f"{name}, {share:g} R", step, there, math.sqrt(max(top, 0.0)), rounding))
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
