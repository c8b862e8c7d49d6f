"""sin z, whose Gaussian expectations are hyperbolic functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, namespace
from ntkscope.activations import balls
from ntkscope.activations.activation import Activation
from ntkscope.activations.registry import register_activation


def sin() -> Activation:
    """sin z."""
    return Activation(
        "sin",
        lambda z: namespace(z).sin(z),
        lambda z: namespace(z).cos(z),
        lambda z: -namespace(z).sin(z),
        1.0,
        1.0,
        dual=_dual,
        hermite=_hermite,
        ball=balls.smooth(lambda z, _: z.sin(), lambda z, _: z.cos(), 1.0),
    )


def _dual(a: Any, b: Any, delta: Any) -> tuple[Any, Any]:
    """e^{−(a+b)/2} sinh C and e^{−(a+b)/2} cosh C."""
    xp = namespace(a)
    root = xp.sqrt(a * b)
    spread = 0.5 * (xp.sqrt(a) - xp.sqrt(b)) ** 2
    plus = xp.exp(-(spread + root * delta))  # e^{C − (a+b)/2}
    minus = xp.exp(-(spread + root * (2.0 - delta)))  # e^{−C − (a+b)/2}
    c = root * (1.0 - delta)
    small = abs(c) < 0.5
    near = xp.where(small, c, 0.0)
    sinh = xp.where(small, xp.exp(-0.5 * (a + b)) * xp.sinh(near), 0.5 * (plus - minus))
    return sinh, 0.5 * (plus + minus)


def _hermite(order: int, a: Array, derivative: bool) -> tuple[Array, Array]:
    from scipy.special import xlogy

    values = np.zeros((len(a), order + 1))
    for r in range(0 if derivative else 1, order + 1, 2):
        # i^r a^{r/2} e^{−a/2}/√r! is E[e^{i√a z} h_r]; in logarithms, since a^r and r! overflow
        log = 0.5 * xlogy(float(r), a) - 0.5 * math.lgamma(r + 1)
        values[:, r] = (-1.0) ** (r // 2) * np.exp(log - 0.5 * a)
    decay = np.expm1(-2.0 * a)
    return values, 1.0 + 0.5 * decay if derivative else -0.5 * decay


register_activation("sin", sin)
