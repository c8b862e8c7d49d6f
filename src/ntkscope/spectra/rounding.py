"""Arithmetic whose error is known: exact sums, error-free splittings, bounds rounded outwards.

A product with a matrix is taken in slices of so few bits that float64 sums them without rounding
(the splitting of Ozaki, Ogita, Oishi and Rump, Numerical Algorithms 59, 2012), so that the error
left is that of the last slice, about 2⁻⁷⁰ of the largest product. It needs no extended type, which
is why it holds wherever float64 does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ntkscope._base.devices import sides

U = 2.0**-53
"""Unit roundoff of float64."""
TINY = 2.0**-1000
"""More than any underflow below adds."""

_SLICE = 1 << 16  # entries of a row block that is split at once: its slices stay in the cache
_SIDE = 960  # rows and columns of a block of a symmetric matrix
_SLICED = 128  # rows of a block that are split at once


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
    """A power of two ≥ x, at most 2x, and ``TINY`` where x = 0."""
    _, exponent = torch.frexp(x)
    return torch.where(x > 0, torch.ldexp(torch.ones_like(x), exponent), TINY)


def slice_bits(n: int) -> int:
    """Bits of a slice such that n products of two of them are summed without rounding."""
    return (53 - math.ceil(math.log2(max(n, 2)))) // 2


def slices(
    A: Tensor, bits: int, dim: int | tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A = A1 + A2 + A3 exactly, and the scales: A1, A2 of ``bits`` bits each below the scale.

    The scale is a power of two ≥ max |A| along ``dim``, one or more of them; |A − A1| ≤ scale·2^(−bits−1) and
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


def accurate_product(
    rows: Callable[[int, int], Tensor], n: int, V: Tensor, *, n_rows: int | None = None
) -> Accurate:
    """K V with about twice the digits, K given by ``rows(i, j)`` → K[i:j, :] in float64.

    K has n columns and ``n_rows`` rows, n by default.

    The error of each entry is at most γ_{n+4} · n · 1.5 · 2^(−2 bits) · max_j |K_ij| · max |V|.
    """
    m = n if n_rows is None else n_rows
    total = _Total(V, m, n)
    step = max(1, math.prod(sides((1, _SLICE), V.device)) // n)
    for i in range(0, m, step):
        j = min(i + step, m)
        *parts, scale = slices(rows(i, j), total.bits, 1)
        total.add(slice(i, j), parts, scale[:, 0], slice(0, n))
    return total.accurate()


def block_side(grain: int, device: torch.device) -> int:
    """The side of a block that :func:`symmetric_product` reads: a multiple of ``grain`` near 960, on a GPU 7680."""
    side = sides((_SIDE, 1), device)[0]
    return max(grain, side // grain * grain)


def symmetric_product(
    block: Callable[[int, int, int, int], Tensor], n: int, V: Tensor, side: int
) -> Accurate:
    """K V with about twice the digits, K symmetric, given by ``block(i, i2, j, j2)`` → K[i:i2, j:j2].

    Blocks of ``side`` on and below the diagonal are read, each once. The parts of a block are on one grid,
    so that its leading products are exact; they are added with the error of each addition.

    The error of an entry is at most γ_{side+4} · side · 1.5 · 2^(−2 bits) · max |V| · Σ s, s ≥ max |K| of
    each of the blocks in its row, and the rounding of what is added to its low part.
    """
    total = _Total(V, n, min(side, n))
    step = sides((_SLICED, 1), V.device)[0]
    for i in range(0, n, side):
        for j in range(0, i + 1, side):
            made, cols = block(i, min(i + side, n), j, min(j + side, n)), slice(j, min(j + side, n))
            for r in range(0, len(made), step):
                *parts, scale = slices(made[r : r + step], total.bits, (0, 1))
                rows = slice(i + r, i + r + len(parts[0]))
                total.add(rows, parts, scale[0], cols)
                if j < i:
                    total.add(cols, [part.T for part in parts], scale[0], rows)
    return total.accurate()


class _Total:
    """K V, to which blocks of K of at most ``inner`` columns are added; held by rows, one for each column of V."""

    def __init__(self, V: Tensor, m: int, inner: int) -> None:
        self._inner, self.bits = inner, slice_bits(inner)
        *parts, scale = slices(V, self.bits, 0)
        v1, v2, v3 = (part.T for part in parts)
        # what the first, second and third slice of K are multiplied with
        self._factors = (torch.cat([v1, v2, v3]), torch.cat([v1, v2 + v3]), V.T.contiguous())
        self._scale, self._k = scale[0], V.shape[1]
        self._high, self._low, self._size = V.new_zeros(3, self._k, m)
        self._scales, self._adds = V.new_zeros(m), V.new_zeros(m)

    def add(self, rows: slice, parts: Sequence[Tensor], scale: Tensor, cols: slice) -> None:
        """Add K[rows, cols] V[cols], K[rows, cols] the sum of its slices ``parts`` below ``scale``."""
        first, second, third = (
            factor[:, cols] @ part.T for factor, part in zip(self._factors, parts, strict=True)
        )
        exact, middle, rest = first.split(self._k)
        middle = middle + second[: self._k]  # both on one grid, together below 2⁵³ steps of it
        rest = (rest + second[self._k :]).add_(third)
        made, error = two_sum(exact, middle)
        self._high[:, rows], lost = two_sum(self._high[:, rows], made)
        self._low[:, rows] += (error + lost).add_(rest)
        self._size[:, rows] += (error.abs() + lost.abs()).add_(rest.abs())
        self._scales[rows] += scale
        self._adds[rows] += 1

    def accurate(self) -> Accurate:
        """The sum. The low part of an entry is the sum of three terms for each block of its row."""
        factor = up(gamma(self._inner + 4) * self._inner * 1.5 * 2.0 ** (-2 * self.bits))
        norm = float(torch.linalg.vector_norm(self._scales)) * (1 + len(self._scales) * U)
        small = gamma(int(self._adds.max()) + 3) * torch.linalg.vector_norm(self._size, dim=1)
        bound = norm * factor * self._scale + small + TINY
        high, low = two_sum(self._high, self._low)
        return Accurate(high.T, low.T, bound * (1 + 2.0**-40))
