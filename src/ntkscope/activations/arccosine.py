"""Positively homogeneous activations by the angle between inputs, carried as 1 − ρ.

φ(z) = p z + q|z| has E φ(√a z)² = (p² + q²) a. With δ = 1 − ρ, ρ = cos θ and g = 2q²/(p² + q²)
(ReLU 1, |z| 2, a linear map 0) the correlation of φ(u) and φ(v) is 1 − δ′,

    δ′ = δ − (g/π)(sin θ − θ cos θ),      E[φ′(u)φ′(v)]/(p² + q²) = 1 − (g/π) θ,

for ReLU Nguyen et al. 2021, eq. 9-10 and Cho and Saul 2009. δ keeps its relative accuracy where
an arccos of ρ near 1 loses half of the digits. Everything here takes tensors and NumPy arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, namespace

SMALL = 2e-3  # below it sin θ − θ cos θ comes from its series: above, cancellation costs < 50 u
# (sin θ − θ cos θ)/θ³ = 1/3 − θ²/30 + θ⁴/840 − θ⁶/45360 + …; at δ = SMALL the next is 1e-15
_SERIES = (-1.0 / 45360.0, 1.0 / 840.0, -1.0 / 30.0, 1.0 / 3.0)


def bending(p: float, q: float) -> float:
    """g = 2q²/(p² + q²), how far φ is from linear."""
    return 2.0 * q * q / (p * p + q * q)


def angle(delta: Any) -> Any:
    """θ with 1 − cos θ = δ; relative error of a few u for δ ≤ 1.9, absolute √u at δ = 2."""
    xp = namespace(delta)
    theta = delta * 0.5
    xp.arcsin(xp.sqrt(theta, out=theta), out=theta)
    theta *= 2.0
    return theta


def lift(delta: Any, theta: Any) -> Any:
    """sin θ − θ cos θ, to a relative error of a few tens of u at every θ."""
    out = 2.0 - delta
    out *= delta
    namespace(delta).sqrt(out, out=out)
    cosine = 1.0 - delta
    cosine *= theta
    out -= cosine
    small = delta < SMALL
    if bool(small.any()):
        out[small] = lift_series(theta[small])
    return out


def lift_series(theta: Any) -> Any:
    """The same for 1 − cos θ below ``SMALL``."""
    x = theta * theta
    total = namespace(x).full_like(x, _SERIES[0])
    for c in _SERIES[1:]:
        total *= x
        total += c
    total *= x
    total *= theta
    return total


def step(delta: Any, g: float) -> tuple[Any, Any]:
    """(δ′, 1 − (g/π)θ): the correlation after φ and the derivative's, both normalised.

    Near δ = 2 (opposite inputs) δ itself must be exact: 2 − δ is what counts there, and
    :func:`step_opposite` takes it instead.
    """
    if g == 0.0:
        return delta, namespace(delta).ones_like(delta)
    theta = angle(delta)
    after = lift(delta, theta)
    after *= -g / math.pi
    after += delta
    theta *= -g / math.pi
    theta += 1.0
    return after, theta


def step_opposite(epsilon: Any, g: float) -> tuple[Any, Any]:
    """The same for ε = 1 + ρ = 2 − δ, exact for opposite inputs."""
    if g == 0.0:
        return 2.0 - epsilon, namespace(epsilon).ones_like(epsilon)
    theta = angle(epsilon)  # π minus the angle
    bent = lift(epsilon, theta)
    # 1 − δ′ with sin θ − θ cos θ = π(1 − ε) + (sin θ̃ − θ̃ cos θ̃), θ̃ = π − θ
    after = (2.0 - g) + (g - 1.0) * epsilon - (g / math.pi) * bent
    return after, (1.0 - g) + (g / math.pi) * theta


def slope_at_zero(slope: Any, a: Any, b: Any, p: float, at_zero: float) -> Any:
    """E[φ′φ′] with u ≡ 0 where a = 0: φ′(0) E φ′(v), E φ′ = p, as a finite network has it."""
    dead_a, dead_b = a == 0, b == 0
    if bool(dead_a.any()) or bool(dead_b.any()):
        xp = namespace(a)
        left, right = xp.full_like(a, p), xp.full_like(b, p)
        left[dead_a], right[dead_b] = at_zero, at_zero
        return xp.where(dead_a | dead_b, left * right, slope)
    return slope


def closed_forms(below: float, above: float, at_zero: float) -> dict[str, Any]:
    """What an :class:`Activation` states of a φ with slopes ``below`` and ``above`` of 0, φ′(0) at 0."""
    p, q = (above + below) / 2.0, (above - below) / 2.0

    def dual(a: Any, b: Any, delta: Any) -> tuple[Any, Any]:
        c = p * p + q * q
        if c == 0.0:
            return 0.0 * delta, 0.0 * delta
        g = bending(p, q)
        after, slope = step(delta, g)
        far = delta > 1.9
        if bool(far.any()):
            after[far], slope[far] = step_opposite(2.0 - delta[far], g)
        value = c * namespace(a).sqrt(a * b) * (1.0 - after)
        return value, slope_at_zero(c * slope, a, b, p, at_zero)

    def hermite(order: int, a: Array, derivative: bool) -> tuple[Array, Array]:
        return _hermite(p, q, order, a, derivative)

    slopes = (min(below, above), max(below, above))
    return {"homogeneity": 1, "slopes": slopes, "dual": dual, "hermite": hermite}


def _hermite(p: float, q: float, order: int, a: Array, derivative: bool) -> tuple[Array, Array]:
    modulus = _absolute_coefficients(order + 1)
    if derivative:
        # φ′ = p + q sign(z), and E[sign h_r] = √(r+1) E[|z| h_{r+1}]; no variance enters
        row = [q * math.sqrt(r + 1.0) * modulus[r + 1] for r in range(order + 1)]
        row[0] += p
        return np.tile(row, (len(a), 1)), np.full_like(a, p * p + q * q)
    row = [q * m for m in modulus[: order + 1]]
    if order:
        row[1] += p
    return np.sqrt(a)[:, None] * np.array(row), (p * p + q * q) * a


def _absolute_coefficients(order: int) -> list[float]:
    """E[|z| h_r(z)]: twice ReLU's at even r (Nguyen et al. 2021, eq. 8), 0 at odd r."""
    values = [0.0] * (order + 1)
    for r in range(0, order + 1, 2):
        values[r] = (
            math.sqrt(2.0 / math.pi)
            if r == 0
            else -values[r - 2] * (r - 3) / math.sqrt((r - 1.0) * r)
        )
    return values
