"""The power series and its floor in ball arithmetic, for positively homogeneous activations without biases.

The recursion on power series gives the κ_p as balls, the recursion on correlations the kernel itself.
"""

from __future__ import annotations

from typing import Any

from ntkscope._base import balls
from ntkscope.papers.karhadkar2024 import PAPER
from ntkscope.papers.karhadkar2024.arc_cosines import ArcCosines, layer_weights
from ntkscope.papers.karhadkar2024.confirm import correlations, over_pairs, unit_gram
from ntkscope.papers.karhadkar2024.series import DEGREE, FLOOR_DEGREE
from ntkscope.spectra.streamed import exponents
from ntkscope.statements.balls.ball_instance import BallInstance, largest_of


@PAPER.confirmer("power-series", "enclosed")
def _enclosed(b: BallInstance) -> tuple[Any, Any]:
    """|K^∞ − Σ_(p≤P) κ_p ρ^p| ≤ Σ_(p>P) κ_p |ρ|^(P+1) at every pair: what it exceeds that by, against 0."""
    form, weights, series = ArcCosines(b), layer_weights(b), _series(b, DEGREE)
    rest = _rest(weights, series)
    zero = balls.flint().arb(0)
    off = [
        abs(form.kernel(rho, weights) - _sum(series, rho)) - rest * abs(rho) ** (DEGREE + 1)
        for rho in correlations(b)
    ]
    return largest_of([zero, *off]), zero


@PAPER.confirmer("floor", "floor")
def _floor(b: BallInstance) -> tuple[Any, Any]:
    """λ_min of the limit ≥ Σ_k κ_k (1 − max_i Σ_j |ρ_ij|^k)₊, the row sums of a power serving those up to the next."""
    form, weights, series = ArcCosines(b), layer_weights(b), _series(b, FLOOR_DEGREE)
    left = b.smallest("own limit", over_pairs(b, lambda rho: form.kernel(rho, weights)))
    sizes = balls.entrywise(unit_gram(b), abs).tolist()
    powers = exponents(FLOOR_DEGREE + 1)
    total = balls.flint().arb(0)
    for at, power in enumerate(powers):
        # the diagonal's 1 is the row's own
        sums = [sum((x**power for x in row), balls.flint().arb(-1)) for row in sizes]
        ends = [*powers, len(series)][at + 1]
        kappas = sum(series[power:ends], balls.flint().arb(0))
        if power == powers[-1]:
            kappas += _rest(weights, series)
        total += kappas * (1 - largest_of(sums)).max(0)
    return left, total


def _series(b: BallInstance, degree: int) -> list[Any]:
    return ArcCosines(b).series(layer_weights(b), degree)


def _rest(weights: list[Any], series: list[Any]) -> Any:
    """Σ_(p>P) κ_p: what the diagonal has beside the terms up to P."""
    return sum(weights) - sum(series)


def _sum(series: list[Any], rho: Any) -> Any:
    total = balls.flint().arb(0)
    for kappa in reversed(series):
        total = total * rho + kappa
    return total
