"""Arithmetic whose error is known: exact sums, error-free splittings, bounds rounded outwards.

A product with a matrix is taken in slices of so few bits that float64 sums them without rounding
(the splitting of Ozaki, Ogita, Oishi and Rump, Numerical Algorithms 59, 2012), so that the error
left is that of the last slice, about 2⁻⁷⁰ of the largest product. It needs no extended type, which
is why it holds wherever float64 does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntkscope._base.devices import sides

U = 2.0**-53
"""Unit roundoff of float64."""
TINY = 2.0**-1000
"""More than any underflow below adds."""

_READ = 128  # rows of K that are formed together, at least
_SLICE = 1 << 16  # entries of a row block that is split at once: its slices stay in the cache


def up(x: float) -> float:
    """At least x ≥ 0, when ``x`` came from a few additions and products of non-negative terms."""
    return math.nextafter(x * (1 + 2.0**-46), math.inf)


def up_to(x: float) -> float:
    """At least the exact result, when ``x`` is one sum or difference rounded to nearest."""
    return math.nextafter(x, math.inf)


def down_to(x: float) -> float:
    """At most the exact result, under the same condition."""
    return math.nextafter(x, -math.inf)


def gamma(n: int) -> float:
    """γ_n = n u / (1 − n u), rounded up (Higham, Accuracy and Stability, §3.1)."""
    return up(n * U / (1 - n * U))


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a + b = s + e exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a · b = p + e exactly (Dekker, with Veltkamp's splitting)."""
    p = a * b
    a1, a2 = _halves(a)
    b1, b2 = _halves(b)
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    c = a * 134217729.0  # 2²⁷ + 1
    high = c - (c - a)
    return high, a - high


def exact_dot(x: Tensor, *parts: Tensor) -> float:
    """xᵀ(Σ parts), summed exactly and rounded once."""
    terms: list[np.ndarray] = []
    for y in parts:
        terms += [t.cpu().numpy() for t in two_product(x, y)]
    return math.fsum(np.concatenate(terms).tolist())


def power_of_two_above(x: Tensor) -> Tensor:
    """The least power of two ≥ x, and 1 where x = 0."""
    _, exponent = torch.frexp(x)
    return torch.where(x > 0, torch.ldexp(torch.ones_like(x), exponent), torch.ones_like(x))


def slice_bits(n: int) -> int:
    """Bits of a slice such that n products of two of them are summed without rounding."""
    return (53 - math.ceil(math.log2(max(n, 2)))) // 2


def slices(A: Tensor, bits: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A = A1 + A2 + A3 exactly, and the scales: A1, A2 of ``bits`` bits each below the scale.

    The scale is a power of two ≥ max |A| along ``dim``; |A − A1| ≤ scale·2^(−bits−1) and
    |A3| ≤ scale·2^(−2 bits−1).
    """
    scale = power_of_two_above(A.abs().amax(dim=dim, keepdim=True))
    anchor = scale * (1.5 * 2.0 ** (52 - bits))
    first = (A + anchor).sub_(anchor)
    rest = A - first
    anchor = anchor * 2.0**-bits
    second = (rest + anchor).sub_(anchor)
    return first, second, rest.sub_(second), scale


@dataclass(frozen=True)
class Accurate:
    """K V = high + low, wrong by at most ``error`` in the 2-norm, one entry for each column."""

    high: Tensor
    low: Tensor
    error: Tensor


def _parts(
    rows: Callable[[int, int], Tensor], m: int, step: int
) -> Iterator[tuple[int, int, Tensor]]:
    """(i, j, K[i:j, :]) of ``step`` rows each, read more at a time: a row that is formed alone reads all factors."""
    for start in range(0, m, max(step, _READ)):
        panel = rows(start, min(start + max(step, _READ), m))
        for i in range(0, len(panel), step):
            part = panel[i : i + step]
            yield start + i, start + i + len(part), part


def accurate_product(
    rows: Callable[[int, int], Tensor], n: int, V: Tensor, *, n_rows: int | None = None
) -> Accurate:
    """K V with about twice the digits, K given by ``rows(i, j)`` → K[i:j, :] in float64.

    K has n columns and ``n_rows`` rows, n by default.

    The error of each entry is at most γ_{n+4} · n · 1.5 · 2^(−2 bits) · max_j |K_ij| · max |V|.
    """
    bits = slice_bits(n)
    v1, v2, v3, v_scale = slices(V, bits, 0)
    v23 = v2 + v3
    m = n if n_rows is None else n_rows
    high, low = V.new_empty(m, V.shape[1]), V.new_empty(m, V.shape[1])
    scales = torch.empty(m, dtype=V.dtype, device=V.device)
    step = max(1, math.prod(sides((1, _SLICE), V.device)) // n)
    for i, j, part in _parts(rows, m, step):
        a1, a2, a3, scale = slices(part, bits, 1)
        exact = a1 @ v1
        middle = a1 @ v2 + a2 @ v1  # both on one grid, together below 2⁵³ steps of it
        rest = a1 @ v3 + a2 @ v23 + a3 @ V
        high[i:j], error = two_sum(exact, middle)
        low[i:j] = error + rest
        scales[i:j] = scale[:, 0]
    factor = up(gamma(n + 4) * n * 1.5 * 2.0 ** (-2 * bits))
    norm = float(torch.linalg.vector_norm(scales)) * (1 + m * U)
    bound = norm * factor * v_scale[0] + 4 * U * torch.linalg.vector_norm(low, dim=0) + TINY
    return Accurate(high, low, bound * (1 + 2.0**-40))
