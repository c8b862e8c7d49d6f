"""Karhadkar et al. 2024: the upper bound from a pair of gradients."""

from __future__ import annotations

import math
from typing import Literal

import torch

from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.geometry import geometry, limit, require_separated, smallest
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, quantity, rounded

Sign = Literal[-1, 1]


@PAPER.statement(
    "pair",
    title="Pair ceiling",
    section="upper bounds",
    sentence="λ_min(K) is at most half the squared distance of the gradients of any two samples.",
    latex=r"\lambda_{\min}(K)\le\tfrac12\|\nabla_\theta f(x_i)-\nabla_\theta f(x_k)\|^2",
    needs=(),
    level2="½‖∇f(x_i) ∓ ∇f(x_k)‖² by autograd against K, for the nearest and the most opposite pair; λ_min(K) below both",
)
def pair_ceiling(i: Instance, out: Findings) -> None:
    found = geometry(i)
    value = quantity(i.lambda_K)
    for name, pair, sign in (("nearest", found.nearest, -1), ("opposite", found.opposite, 1)):
        one, other = pair
        measured = gradient_distance(i, one, other, -1 if sign < 0 else 1)
        entries = i.K[[one, other]][:, [one, other]]
        through = 0.5 * float(entries[0, 0] + entries[1, 1]) + sign * float(entries[0, 1])
        gamma = i.kernel.forming_error() / float(i.K.diagonal().sum())
        bar = (gamma + 4 * U) * float(entries.diagonal().sum())
        word = "−" if sign < 0 else "+"
        out.conclude_equal(
            f"½‖∇f(x_i) {word} ∇f(x_k)‖² = ½(K_ii + K_kk) {word} K_ik, {name} pair", measured,
            Quantity(through, bar), scale=entries.diagonal().sum(), key="gradients", pair=name,
        )  # fmt: skip
        # Rayleigh at (e_i ∓ e_k)/√2, once the gradients are those of K
        out.at_most(f"λ_min(K) ≤ ½‖∇f(x_i) {word} ∇f(x_k)‖², {name} pair", value, measured,
                    tautology=True, key="ceiling", pair=name)  # fmt: skip


def gradient_distance(i: Instance, one: int, other: int, sign: Sign) -> Quantity:
    """½‖∇f(x_i) ± ∇f(x_k)‖² over all parameters, by autograd."""
    gradients = []
    for row in (one, other):
        with torch.enable_grad():
            f = i.model(i.X[row : row + 1].to(i.model.dtype))[0, 0]
            parts = torch.autograd.grad(f, list(i.model.parameters()))
        gradients.append(torch.cat([p.reshape(-1) for p in parts]))
    distance = 0.5 * float((gradients[0] + sign * gradients[1]).square().sum())
    # a gradient is a product of sums over every width, each wrong by its length
    size = sum(float(x.square().sum()) for x in gradients)
    return Quantity(distance, 8 * (sum(i.n) + 8 * i.L) * U * size)


@PAPER.statement(
    "angle",
    title="Pair ceiling of the limit, in the angle",
    section="upper bounds, with constants",
    sentence="λ_min of the shallow limit is at most 1 − (sin θ + 2(π − θ) cos θ)/2π ≤ 0.88 δ′, θ the smallest angle.",
    latex=(
        r"\lambda_{\min}(K^\infty)\le1-\frac{\sin\theta+2(\pi-\theta)\cos\theta}{2\pi}\le0.88\,\delta'"
    ),
    needs=(needs.relu, needs.plain),
    level2="the formula against K^∞_ii − K^∞_ik of the nearest pair; λ_min of the limit below it, and it below 0.88 δ′",
)
def angle_ceiling(i: Instance, out: Findings) -> None:
    out.hypothesis("L = 2", i.L == 2, i.L, 2)
    found = require_separated(i, out)
    K, error = limit(i)
    one, other = found.nearest
    theta = 2 * math.asin(min(1.0, found.distance / 2))
    ceiling = rounded(closed_ceiling(theta), 16, 1.0) + Quantity(0.0, found.error)
    measured = Quantity(float(K[one, one] - K[one, other]), 2 * error / len(K))
    if i.L == 2:
        out.conclude_equal("K^∞_ii − K^∞_ik = 1 − (sin θ + 2(π − θ) cos θ)/2π", measured, ceiling,
                           scale=1.0, key="formula")  # fmt: skip
        out.at_most("λ_min of the limit ≤ 1 − (sin θ + 2(π − θ) cos θ)/2π", smallest(i, "limit"),
                    ceiling, key="ceiling")  # fmt: skip
        out.conclude_at_most("1 − (sin θ + 2(π − θ) cos θ)/2π ≤ 0.88 δ′", ceiling,
                             found.delta_prime * 0.88, key="distance")  # fmt: skip
    out.step_order(
        "λ_min of the limit", smallest(i, "limit"), "O", found.delta_prime, "δ′", key="order"
    )


def closed_ceiling(theta: float) -> float:
    """K^∞(1) − K^∞(cos θ) of the shallow ReLU kernel, θ/2π to first order.

    Its derivative (cos θ + 2(π − θ) sin θ)/2π is at most 0.88 cos(θ/2), that of 2 sin(θ/2) = δ′:
    cos θ ≤ cos(θ/2), and (π − θ) sin(θ/2) ≤ 1.1223 on [0, π].
    """
    half = math.sin(theta / 2) ** 2  # (1 − cos θ)/2 without cancellation
    return (2 * theta - math.sin(theta) + 4 * (math.pi - theta) * half) / (2 * math.pi)
