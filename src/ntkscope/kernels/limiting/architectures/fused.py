"""A homogeneous activation and a window's sums in one pass each, compiled by numba.

θ/2 = asin √h is π/2 − asin √(1 − h) for h > ½, and asin(√m)/√m on [0, ½] is a polynomial to a
rounding: its nearest singularity, m = 1, lies at 3 of the interval's [−1, 1], so that a degree
divides what is left by 5.8.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from ntkscope._base.extras import needs

with needs("fast"):
    import numba

Array = NDArray[np.float64]

_DEGREE = 21


def _terms() -> tuple[float, ...]:
    """Of asin(√m)/√m in x = 4m − 1: Taylor's series, cut where Chebyshev's is at a rounding.

    Every number on the way to Chebyshev's coefficients is positive and keeps its digits.
    """
    series = [math.comb(2 * n, n) / (4.0**n * (2 * n + 1)) for n in range(64)]
    inside = Polynomial(series)(Polynomial([0.25, 0.25])).convert(kind=Chebyshev)
    return tuple(inside.truncate(_DEGREE + 1).convert(kind=Polynomial).coef.tolist())


_TERMS = _terms()
_QUARTER = 0.5 * math.pi


@numba.njit(inline="always", fastmath={"contract"})
def _half_angle(m: float) -> float:
    """asin(√m)/√m, 0 ≤ m ≤ ½."""
    # one expression, which a compiler takes for several entries at once
    x, c = 4.0 * m - 1.0, _TERMS
    v = ((c[21] * x + c[20]) * x + c[19]) * x + c[18]
    v = ((v * x + c[17]) * x + c[16]) * x + c[15]
    v = ((v * x + c[14]) * x + c[13]) * x + c[12]
    v = ((v * x + c[11]) * x + c[10]) * x + c[9]
    v = ((v * x + c[8]) * x + c[7]) * x + c[6]
    v = ((v * x + c[5]) * x + c[4]) * x + c[3]
    return ((v * x + c[2]) * x + c[1]) * x + c[0]


@numba.njit(fastmath={"nnan", "nsz"})
def _range(half: Array) -> tuple[float, float]:
    least, most = 0.5, 0.5
    for j in range(len(half)):
        least = half[j] if half[j] < least else least
        most = half[j] if half[j] > most else most
    return least, most


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def propagate(
    D: Array, T: Array, left: Array, right: Array, g: float, dead: tuple[float, float], near: float,
    out: Array, tangent: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """D − N g bent and T − 2 g T θ/2, as :meth:`Homogeneous.chunk` has them.

    D of three axes, T the same or empty; left, right: roots of variances, to be broadcast. dead:
    φ′(0)/√c and p/√c.

    Returns the largest δ/2, and of pairs with D > 0 and δ/2 < ``near`` the smallest δ/2 and the
    largest D/N − δ/2.
    """
    farthest, nearest, uneven = 0.0, 1.0, 0.0
    half, norm = np.empty(D.shape[2]), np.empty(D.shape[2])
    s, t = np.empty(D.shape[2]), np.empty(D.shape[2])
    for r in range(D.shape[0] * D.shape[1]):
        i, k = r // D.shape[1], r % D.shape[1]
        s[:] = left[i % left.shape[0], k % left.shape[1]]
        t[:] = right[i % right.shape[0], k % right.shape[1]]
        d, o = D[i, k], out[i, k]
        for j in range(len(d)):
            norm[j] = 2.0 * s[j] * t[j]
            apart = s[j] - t[j]
            h = (d[j] - 0.5 * apart * apart) / norm[j]
            half[j] = h if norm[j] > 0.0 else 0.5
        least, most = _range(half)
        farthest = max(farthest, most)
        if least < near:
            for j in range(len(d)):
                if half[j] < near and d[j] > 0.0:
                    nearest = min(nearest, half[j])
                    uneven = max(uneven, d[j] / norm[j] - half[j])
        for j in range(len(d)):
            h = half[j]
            h = 0.0 if h < 0.0 else h
            h = 1.0 if h > 1.0 else h
            m = h if h < 0.5 else 1.0 - h
            turn = math.sqrt(m) * _half_angle(m)
            turn = turn if h < 0.5 else _QUARTER - turn
            bent = math.sqrt(m * (1.0 - m)) - turn * (1.0 - 2.0 * h)
            o[j] = d[j] - g * norm[j] * bent
            half[j] = turn
        if T.size > 0:
            before, after = T[i, k], tangent[i, k]
            for j in range(len(d)):
                slope = (dead[0] if s[j] == 0.0 else dead[1]) * (
                    dead[0] if t[j] == 0.0 else dead[1]
                )
                after[j] = before[j] * (1.0 - 2.0 * g * half[j] if norm[j] > 0.0 else slope)
    return farthest, nearest, uneven


@numba.njit(inline="always")
def _add(o: Array, x: Array) -> None:
    # not from numbers that might be negative, which numba would count from the end
    for j in range(len(o)):
        o[j] += x[j]


@numba.njit(inline="always")
def _add_repeated(o: Array, x: Array) -> None:
    if len(x) == 1:
        for j in range(len(o)):
            o[j] += x[0]
    else:
        for j in range(len(o)):
            o[j] += x[j % len(x)]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def window_sum(
    x: Array, offsets: NDArray[np.int64], C: int, rows: Array, cols: Array, out: Array
) -> None:
    """Sums over pairs of positions (q, r) that one offset moves together, as :class:`Window` has them.

    x (A, L, B, L·C), out (A, n, B, n·C). offsets (K, 3): offset, first and last + 1 of the places
    that it keeps inside. rows (A, L, b, w), repeated along the last axis, and cols (B/b, L·C): what a
    pair with the other position outside has, where b is not 0.
    """
    edges = rows.shape[2]
    share = out.shape[2] // max(1, edges)
    for a in range(out.shape[0]):
        for q in range(out.shape[1]):
            for b in range(out.shape[2]):
                o = out[a, q, b]
                for j in range(len(o)):
                    o[j] = 0.0
                for k in range(len(offsets)):
                    offset, low, high = offsets[k]
                    start, stop, move = low * C, high * C, offset * C
                    if low <= q < high:
                        _add(o[start:stop], x[a, q + offset, b, start + move : stop + move])
                        if edges > 0:
                            _add_repeated(o[:start], rows[a, q + offset, b // share])
                            _add_repeated(o[stop:], rows[a, q + offset, b // share])
                    elif edges > 0:
                        other = cols[b % len(cols), start + move : stop + move]
                        _add(o[start:stop], other)
