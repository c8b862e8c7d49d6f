"""Hermite polynomials, orthonormal for N(0, 1) and generalised to any variance."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, namespace


def hermite_functions(order: int, z: Array) -> Array:
    """ψ_r(z) = h_r(z) e^{−z²/4} for r = 0, …, order; bounded by 1, so no order overflows.

    h_r are orthonormal for N(0, 1): h_{r+1} = (z h_r − √r h_{r−1})/√(r+1).
    """
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    table = np.empty((order + 1, *z.shape))
    table[0] = np.exp(-0.25 * z * z)
    if order:
        table[1] = z * table[0]
    for r in range(1, order):
        np.multiply(z, table[r], out=table[r + 1])
        table[r + 1] -= math.sqrt(r) * table[r - 1]
        table[r + 1] *= 1.0 / math.sqrt(r + 1.0)
    return table


def hermite_polynomials(order: int, x: Any, variance: float = 1.0) -> Any:
    """H_r^{[a]}(x) = a^{−r/2} h_r(x/√a), r = 0, …, order, as ``x`` is, with one more axis in front.

    E H_r H_s = a^{−r} δ_rs for N(0, a).
    """
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"variance must be positive and finite, got {variance}")
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    xp = namespace(x)
    rows = [xp.ones_like(x), x / variance]
    for r in range(1, order):
        # the recurrence of h_r with every z = x/√a and every step weighed by a^{−1/2}
        rows.append((x * rows[r] - math.sqrt(r) * rows[r - 1]) / (variance * math.sqrt(r + 1.0)))
    return xp.stack(rows[: order + 1])


@functools.lru_cache(maxsize=16)
def functions_on_grid(order: int, half: int, step: float) -> Array:
    """ψ_r on the nodes of a trapezoidal rule: φ, φ′ and every layer share them."""
    return hermite_functions(order, np.arange(-half, half + 1.0) * step)
