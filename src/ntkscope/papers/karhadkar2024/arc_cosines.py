"""Limiting kernels of φ(t) = c₊ t₊ + c₋ (−t)₊ in ball arithmetic, by the arc cosines of Cho and Saul 2009.

A correlation ρ is a ball, or a power series in one: with ρ = x + O(x^{P+1}) the recursion gives the first
coefficients of the kernel's own series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ntkscope._base import balls
from ntkscope.statements.balls.ball_instance import BallInstance, Unproved


class ArcCosines:
    """Expectations over unit Gaussians u and v of correlation ρ. plus, minus: c₊ and c₋."""

    def __init__(self, b: BallInstance) -> None:
        phi = b.i.network.activation
        if phi.homogeneity != 1:
            raise Unproved("the closed forms are those of positively homogeneous activations")
        self.plus, self.minus = (
            balls.flint().arb(float(y)) for y in phi.phi(np.array([1.0, -1.0]))
        )
        self.pi = balls.flint().arb.pi()

    @property
    def moment(self) -> Any:
        """E φ(u)² = E φ′(u)²."""
        return (self.plus**2 + self.minus**2) / 2

    def value(self, rho: Any) -> Any:
        """E φ(u)φ(v)."""
        if rho == 1:
            return self.moment
        theta = rho.acos()
        sine = (1 - rho * rho).sqrt()
        same, across = sine + (self.pi - theta) * rho, sine - theta * rho
        return (2 * self.moment * same + 2 * self.plus * self.minus * across) / (2 * self.pi)

    def slope(self, rho: Any) -> Any:
        """E φ′(u)φ′(v)."""
        if rho == 1:
            return self.moment
        theta = rho.acos()
        return (self.moment * (self.pi - theta) - self.plus * self.minus * theta) / self.pi

    def kernel(self, rho: Any, weights: Sequence[Any]) -> Any:
        """Σ_k w_k R_{k−1} Π_{j≥k} Ṙ_j: the NTK of depth L = len(weights), its layers' terms w_k at ρ = 1.

        R_0 = ρ; R_k and Ṙ_k are E φφ and E φ′φ′ at correlation R_{k−1}, over their moment.
        """
        total = rho * weights[0]
        for weight in weights[1:]:
            total = total * self.slope(rho) / self.moment
            rho = rho if rho == 1 else self.value(rho) / self.moment
            total += rho * weight
        return total

    def series(self, weights: Sequence[Any], degree: int) -> list[Any]:
        """κ_0, …, κ_degree of :meth:`kernel`."""
        module = balls.flint()
        with _terms(degree + 1):
            made = self.kernel(module.arb_series([0, 1]), weights).coeffs()
        return [*made, *([module.arb(0)] * (degree + 1 - len(made)))]


def layer_weights(b: BallInstance) -> list[Any]:
    """The terms of W_1, …, W_L in K^∞(x, x), for rows of norm √d."""
    if b.i.network.paired:
        raise Unproved("two equal halves of neurons have a limit of their own")
    moment, n = ArcCosines(b).moment, b.i.n
    square = balls.flint().arb(1)  # of a neuron of the layer before
    weights: list[Any] = []
    for l in range(1, b.i.L + 1):
        if l > 1:
            square *= n[l - 2] * b.variance(l - 1) * moment
            weights = [w * (n[l - 1] * b.variance(l) * moment) for w in weights]
        weights.append(b.scale(l) ** 2 * n[l - 1] * square)
    return weights


@contextmanager
def _terms(count: int) -> Iterator[None]:
    """Power series cut off after ``count`` terms."""
    context = balls.flint().ctx
    before, context.cap = context.cap, count
    try:
        yield
    finally:
        context.cap = before
