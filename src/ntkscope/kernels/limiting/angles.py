"""Positively homogeneous activations by the angle between inputs, carried as 1 − ρ.

φ(z) = p z + q|z| has E φ(√a z)² = (p² + q²) a. With δ = 1 − ρ, ρ = cos θ and g = 2q²/(p² + q²)
(ReLU 1, |z| 2, a linear map 0) the correlation of φ(u) and φ(v) is 1 − δ′,

    δ′ = δ − (g/π)(sin θ − θ cos θ),      E[φ′(u)φ′(v)]/(p² + q²) = 1 − (g/π) θ,

for ReLU Nguyen et al. 2021, eq. 9-10 and Cho and Saul 2009. δ keeps its relative accuracy where
an arccos of ρ near 1 loses half of the digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALL = 2e-3  # below it sin θ − θ cos θ comes from its series: above, cancellation costs < 50 u
# (sin θ − θ cos θ)/θ³ = 1/3 − θ²/30 + θ⁴/840 − θ⁶/45360 + …; at δ = SMALL the next is 1e-15
_SERIES = (-1.0 / 45360.0, 1.0 / 840.0, -1.0 / 30.0, 1.0 / 3.0)


def bending(p: float, q: float) -> float:
    """g = 2q²/(p² + q²), how far φ is from linear."""
    return 2.0 * q * q / (p * p + q * q)


def angle(delta: Tensor) -> Tensor:
    """θ with 1 − cos θ = δ; relative error of a few u for δ ≤ 1.9, absolute √u at δ = 2."""
    return torch.asin_(torch.sqrt_(delta * 0.5)).mul_(2.0)


def lift(delta: Tensor, theta: Tensor) -> Tensor:
    """sin θ − θ cos θ, to a relative error of a few tens of u at every θ."""
    out = torch.sub(2.0, delta).mul_(delta).sqrt_()
    out.addcmul_(theta, 1.0 - delta, value=-1.0)
    small = delta < SMALL
    if bool(small.any()):
        out[small] = lift_series(theta[small])
    return out


def lift_series(theta: Tensor) -> Tensor:
    """The same for 1 − cos θ below ``SMALL``."""
    x = theta * theta
    total = torch.full_like(x, _SERIES[0])
    for c in _SERIES[1:]:
        total.mul_(x).add_(c)
    return total.mul_(x).mul_(theta)


def step(delta: Tensor, g: float) -> tuple[Tensor, Tensor]:
    """(δ′, 1 − (g/π)θ): the correlation after φ and the derivative's, both normalised.

    Near δ = 2 (opposite inputs) δ itself must be exact: 2 − δ is what counts there, and
    :func:`step_opposite` takes it instead.
    """
    if g == 0.0:
        return delta, torch.ones_like(delta)
    theta = angle(delta)
    after = torch.sub(delta, lift(delta, theta), alpha=g / math.pi)
    return after, theta.mul_(-g / math.pi).add_(1.0)


def step_opposite(epsilon: Tensor, g: float) -> tuple[Tensor, Tensor]:
    """The same for ε = 1 + ρ = 2 − δ, exact for opposite inputs."""
    if g == 0.0:
        return 2.0 - epsilon, torch.ones_like(epsilon)
    theta = angle(epsilon)  # π minus the angle
    bent = lift(epsilon, theta)
    # 1 − δ′ with sin θ − θ cos θ = π(1 − ε) + (sin θ̃ − θ̃ cos θ̃), θ̃ = π − θ
    after = (2.0 - g) + (g - 1.0) * epsilon - (g / math.pi) * bent
    return after, (1.0 - g) + (g / math.pi) * theta


def homogeneous_dual(
    parts: tuple[float, float], at_zero: float, a: Tensor, b: Tensor, delta: Tensor
) -> tuple[Tensor, Tensor]:
    """(E[φφ], E[φ′φ′]) of φ = pz + q|z|; ``at_zero`` is φ′(0), for inputs of variance 0."""
    p, q = parts
    g, c = bending(p, q), p * p + q * q
    after, slope = step(delta, g)
    far = delta > 1.9
    if bool(far.any()):
        after[far], slope[far] = step_opposite(2.0 - delta[far], g)
    value = c * torch.sqrt(a * b) * (1.0 - after)
    return value, slope_at_zero(c * slope, a, b, p, at_zero)


def slope_at_zero(slope: Tensor, a: Tensor, b: Tensor, p: float, at_zero: float) -> Tensor:
    """E[φ′φ′] with u ≡ 0 where a = 0: φ′(0) E φ′(v), E φ′ = p, as a finite network has it."""
    dead_a, dead_b = a == 0, b == 0
    if bool(dead_a.any()) or bool(dead_b.any()):
        left, right = torch.full_like(a, p), torch.full_like(b, p)
        left[dead_a], right[dead_b] = at_zero, at_zero
        return torch.where(dead_a | dead_b, left * right, slope)
    return slope
