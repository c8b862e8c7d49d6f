"""Karhadkar et al. 2024 in ball arithmetic: separation, ceilings of pairs, bounds of the limit, lifting.

Which pair is the nearest, and which n lifts best, are the claim's and come from floating point; both sides are
then evaluated for that pair and that n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntkscope._base import balls
from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.arc_cosines import ArcCosines
from ntkscope.papers.karhadkar2024.geometry import geometry
from ntkscope.papers.karhadkar2024.lifting import best_power
from ntkscope.statements.balls.ball_instance import (
    BallInstance,
    Unproved,
    largest_of,
    row_norms_sq,
    smallest_of,
)

_MOST = 2000  # coefficients that are summed one by one


@PAPER.confirmer("separation", "half-turn")
def _half_turn(b: BallInstance) -> tuple[Any, Any]:
    """δ ≤ √2."""
    return _separation(b), balls.flint().arb(2).sqrt()


@PAPER.confirmer("separation", "both-signs")
def _both_signs(b: BallInstance) -> tuple[Any, Any]:
    """δ ≤ δ′."""
    return _separation(b), _distance(b)


@PAPER.confirmer("separation", "simplex")
def _simplex(b: BallInstance) -> tuple[Any, Any]:
    """δ′ ≤ √(2N/(N−1))."""
    return _distance(b), (balls.flint().arb(2 * b.i.N) / (b.i.N - 1)).sqrt()


@PAPER.confirmer("separation", "norm")
def _norm(b: BallInstance) -> tuple[Any, Any]:
    """‖X‖² ≤ N, from −λ_min(−XXᵀ)."""
    return -b.smallest("− unit gram", unit_gram(b) * -1), balls.flint().arb(b.i.N)


@PAPER.confirmer("pair", "ceiling")
def _pair_ceiling(b: BallInstance, pair: str) -> tuple[Any, Any]:
    """λ_min(K) ≤ ½‖∇f(x_i) ∓ ∇f(x_k)‖², from the gradients themselves."""
    found = geometry(b.i)
    (one, other), sign = (found.nearest, -1) if pair == "nearest" else (found.opposite, 1)
    total = balls.flint().arb(0)
    for l in range(1, b.i.L + 1):
        features, signals, scale = b.F(l - 1), b.B(l), b.scale(l)
        for a in range(features.ncols()):
            for c in range(signals.ncols()):
                part = (
                    features[one, a] * signals[one, c]
                    + sign * features[other, a] * signals[other, c]
                )
                total += (part * scale) ** 2
    return b.lambda_K, total / 2


@PAPER.confirmer("angle", "ceiling")
def _angle_ceiling(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of the limit ≤ 1 − (sin θ + 2(π − θ) cos θ)/2π."""
    return _lambda_limit(b), _closed(b)


@PAPER.confirmer("angle", "distance")
def _angle_distance(b: BallInstance) -> tuple[Any, Any]:
    """1 − (sin θ + 2(π − θ) cos θ)/2π ≤ 0.88 δ′."""
    return _closed(b), _distance(b) * balls.flint().arb(0.88)


@PAPER.confirmer("shallow", "limit-distance")
def _limit_distance(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of the limit ≤ δ′."""
    return _lambda_limit(b), _distance(b)


@PAPER.confirmer("deep", "limit-depth")
def _limit_depth(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of the limit ≤ L."""
    return _lambda_limit(b), balls.flint().arb(b.i.L)


@PAPER.confirmer("rank-lifting", "features")
def _lift_features(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of E σσᵀ ≥ (1 − (m−1) cos^n θ) Σ_(k≥n) a_k."""
    return b.smallest("unit features", over_pairs(b, ArcCosines(b).value)), _lifted(b, "features")


@PAPER.confirmer("rank-lifting", "kernel")
def _lift_kernel(b: BallInstance) -> tuple[Any, Any]:
    """The same of E σσᵀ + XXᵀ ∘ E σ′σ′ᵀ, with κ_k = a_k + a′_(k−1)."""
    return _one_layer(b), _lifted(b, "kernel")


@PAPER.confirmer("linear-rate", "linear")
def _linear(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of the limit ≥ (2π)^{-3/2} θ/√(2 log(2m) + θ²)."""
    arb = balls.flint().arb
    theta = largest_of(abs(r) for r in correlations(b)).acos()
    under = (2 * arb(2 * b.i.N).log() + theta**2).sqrt()
    return _one_layer(b), theta / under / (2 * arb.pi()) / (2 * arb.pi()).sqrt()


def unit_gram(b: BallInstance) -> Any:
    """⟨x_i, x_k⟩ of the rows scaled to norm 1."""

    def make() -> Any:
        norms = [n.sqrt() for n in row_norms_sq(b.F(0))]
        gram, N = b.gram(0), b.i.N
        return balls.flint().arb_mat(
            [
                [gram[a, c] / norms[a] / norms[c] if a != c else 1 for c in range(N)]
                for a in range(N)
            ]
        )

    return b._held("unit gram", make)


def correlations(b: BallInstance) -> list[Any]:
    """ρ of every pair. Raises Unproved where a ball does not lie within (−1, 1)."""
    gram = unit_gram(b)
    found = [gram[a, c] for a in range(b.i.N) for c in range(a)]
    if not all(-1 < rho < 1 for rho in found):
        raise Unproved("two rows are equal or antipodal as far as the balls tell")
    return found


def _distance(b: BallInstance) -> Any:
    """δ′ = min √(2 − 2ρ)."""
    return smallest_of((2 - 2 * rho).sqrt() for rho in correlations(b))


def _separation(b: BallInstance) -> Any:
    """δ = min √(2 − 2|ρ|)."""
    return smallest_of((2 - 2 * abs(rho)).sqrt() for rho in correlations(b))


def _closed(b: BallInstance) -> Any:
    arb = balls.flint().arb
    rho = largest_of(correlations(b))
    theta = rho.acos()
    return 1 - (theta.sin() + 2 * (arb.pi() - theta) * rho) / (2 * arb.pi())


def over_pairs(b: BallInstance, form: Callable[[Any], Any]) -> Any:
    """The matrix form(ρ_ik), form(1) on the diagonal."""
    correlations(b)
    return balls.entrywise(unit_gram(b), form)


def _one_layer(b: BallInstance) -> Any:
    """λ_min of E σσᵀ + XXᵀ ∘ E σ′σ′ᵀ."""
    form = ArcCosines(b)
    return b.smallest("one layer", over_pairs(b, lambda rho: form.kernel(rho, [form.moment] * 2)))


def _lambda_limit(b: BallInstance) -> Any:
    """λ_min of the paper's ReLU kernel at infinite widths: half of the recursion's where L = 2."""
    if not b.i.relu:
        raise Unproved("the paper's kernel is that of ReLU")
    form, weight = ArcCosines(b), balls.flint().arb(0.5 if b.i.L == 2 else 1)
    return b.smallest("unit limit", over_pairs(b, lambda rho: form.kernel(rho, [weight] * b.i.L)))


def _lifted(b: BallInstance, key: str) -> Any:
    """(1 − (m − 1) cos^n θ) Σ_(k≥n) of the series, n as the statement found it."""
    n = best_power(b.i, key)
    if n > _MOST:
        raise Unproved(f"the best n is {n}, and {_MOST} coefficients are summed")
    form = ArcCosines(b)
    total = form.moment * (1 if key == "features" else 2)
    for k in range(n):
        total -= _coefficient(1, k, form.plus, form.minus)
        if key == "kernel" and k:
            total -= _coefficient(0, k - 1, form.plus, -form.minus)
    cosine = largest_of(abs(rho) for rho in correlations(b))
    return (1 - (b.i.N - 1) * balls.power(cosine, n)) * total


def _coefficient(q: int, k: int, plus: Any, minus: Any) -> Any:
    """a_k by its closed form; 1/Γ is 0 at a pole."""
    arb = balls.flint().arb
    lead = (plus + (-1) ** k * minus) ** 2 * arb(2) ** (k - q - 2) * arb(q + 1).gamma() ** 2
    return lead * (arb(q - k + 2) / 2).rgamma() ** 2 / arb(k + 1).gamma()
