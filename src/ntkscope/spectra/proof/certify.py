"""Lower and upper bounds on eigenvalues that include rounding.

Upper bound: the Rayleigh quotient, evaluated with about twice the digits. Lower bounds:
A: if a Cholesky factorisation of K − sI completes, λ_min ≥ s − c, with c from the error
   analysis of Cholesky (Rump, BIT 46, 2006): :func:`ntkscope.spectra.storage.panels.shortfall`.
B: the same with a bound on ‖K − sI − LLᵀ‖ from an error-free splitting of L. It holds for any L.
C: A or B for K + σXXᵀ − νI. It proves λ_{k+1}(K) ≥ ν because XXᵀ has rank k. Then Lehmann's
   bound for the k vectors X (Temple and Kato's for k = 1) gives
   λ_i ≥ h_i − ‖R‖²/(ν − h_k), h the Ritz values in X and R = KX − XH.

All functions take the matrix S·K of a source, S = +1 or −1. S = −1 gives the other end of the spectrum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ntkscope._base.devices import require_ieee
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.rounding import (
    TINY,
    U,
    down_to,
    exact_dot,
    gamma,
    slice_bits,
    slices,
    symmetric_product,
    two_product,
    two_sum,
    up,
    up_to,
)
from ntkscope.spectra.storage.panels import Factored, shortfall
from ntkscope.spectra.storage.source import Source

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rayleigh:
    """Ritz values of the span of k vectors, enclosed.

    values: θ_i = x_iᵀKx_i / x_iᵀx_i, ascending; errors: |h_i − θ_i| for the exact Ritz values h;
    upper: a bound on λ_min; residual: a bound on ‖K Q − Q H‖₂ for an orthonormal basis Q of the
    span; residuals: ‖K x_i − θ_i x_i‖₂ of each; order: column i of the vectors belongs to θ_order[i].
    """

    values: list[float]
    errors: list[float]
    upper: float
    residual: float
    residuals: list[float]
    order: list[int]


def rayleigh(source: Source, X: Tensor, sign: float = 1.0) -> Rayleigh | None:
    """The Rayleigh quotients of the k columns of ``X`` as stored.

    None if the columns are too far from orthonormal for a bound.
    """
    n, k = X.shape
    made = symmetric_product(source.block, n, sign * X, source.side)
    gram = _matrix(k, lambda i, j: exact_dot(X[:, i], X[:, j]))
    inner = _matrix(k, lambda i, j: exact_dot(X[:, i], made.high[:, j], made.low[:, j]))
    skew = up(float(np.linalg.norm(gram - np.eye(k))) + 4 * k * U)
    if not skew < 0.5:
        return None
    theta = inner.diagonal() / gram.diagonal()
    norms = np.sqrt(gram.diagonal()) * (1 + 4 * U)
    product_error = made.error.cpu().numpy()
    residuals = [
        _residual(made.high[:, i], made.low[:, i], X[:, i], float(theta[i]))
        + float(product_error[i])
        for i in range(k)
    ]
    order = np.argsort(theta, kind="stable").tolist()
    total = math.sqrt(sum(r * r for r in residuals))
    single = (norms * product_error + TINY) / (1 - skew) + 8 * U * np.abs(theta)
    lost = float(np.outer(norms, product_error).sum()) + TINY
    return Rayleigh(
        values=[float(theta[i]) for i in order],
        errors=[_ritz_error(inner, gram, i, lost, skew) for i in order],
        upper=up_to(float((theta + single * (1 + 2.0**-40)).min())),
        residual=up(total / math.sqrt(1 - skew)),
        residuals=[residuals[i] for i in order],
        order=order,
    )


def _matrix(k: int, entry: Callable[[int, int], float]) -> Array:
    return np.array([[entry(i, j) for j in range(k)] for i in range(k)])


def _ritz_error(inner: Array, gram: Array, index: int, lost: float, skew: float) -> float:
    """|h − θ| for the Ritz value h that θ, of column ``index``, approximates.

    M = XᵀKX − θ XᵀX has on its diagonal the signs of θ_j − θ, and the Ritz values are those of a
    pencil with XᵀX ≥ 1 − skew. So |h − θ| is at most the norm of the off-diagonal part; or, by the
    inertia of M − δ XᵀX and a Schur complement, by the square of row ``index`` over the distance of
    the other diagonal entries from zero.
    """
    theta = inner[index, index] / gram[index, index]
    difference = inner - theta * gram
    blur = 8 * U * (np.abs(inner) + abs(theta) * np.abs(gram))
    off = np.abs(difference) + blur
    np.fill_diagonal(off, 0.0)
    distance = np.abs(difference.diagonal()) - blur.diagonal()
    own = float(blur[index, index]) + lost
    first = float(np.linalg.norm(off)) + max(0.0, -float(distance.min())) + own
    others = np.delete(np.arange(len(inner)), index)
    if len(others):
        row = float(np.linalg.norm(off[index])) + lost
        rest = float(np.linalg.norm(off[np.ix_(others, others)])) + lost
        gap = (float(distance[others].min()) - rest) * (1 - 2.0**-40)
        second = 2 * row * row / gap + own if gap > 0 else math.inf
        if second < first and second * (1 + skew) / (1 - skew) <= gap / 2:
            first = second
    return up(first * (1 + 2.0**-40) / (1 - skew) + 4 * U * abs(theta))


def _residual(high: Tensor, low: Tensor, x: Tensor, theta: float) -> float:
    """An upper bound on ‖high + low − θx‖₂."""
    p, e = two_product(x, torch.full_like(x, theta))
    s, t = two_sum(high, -p)
    small = t - e + low
    norm = float(torch.linalg.vector_norm(s + small))
    parts = sum(float(torch.linalg.vector_norm(y)) for y in (t, e, low))
    return up(norm * (1 + (len(x) + 4) * U) + 4 * U * parts)


Deflation = tuple[Tensor, float]
"""(X, σ) of the term σXXᵀ."""


@dataclass(frozen=True)
class Shifted:
    """S·K + σXXᵀ − sI, to be written into panels or read again block by block."""

    source: Source
    shift: float
    sign: float = 1.0
    deflation: Deflation | None = None

    def block(self, i: int, i2: int, j: int, j2: int) -> Tensor:
        """Rows i to i2, columns j to j2; where i = j the shift is taken off and rounded down."""
        made = self.source.block(i, i2, j, j2)
        if self.sign < 0:
            made = -made
        if self.deflation is not None:
            X, sigma = self.deflation
            made = torch.addmm(made, X[i:i2] * sigma, X[j:j2].T)
        elif self.shift != 0.0 and i == j:
            made = made.clone()  # the block may be a view of the matrix
        if self.shift != 0.0 and i == j:
            diagonal = made.diagonal()
            minus = torch.full_like(diagonal, -math.inf)
            diagonal.copy_(torch.nextafter(diagonal - self.shift, minus))
        return made

    def digest(self) -> str:
        """A checksum of this matrix: every bit of what was added to K, and K's own digest."""
        seen = hashlib.sha256(f"{self.source.digest} {self.shift!r} {self.sign}".encode())
        if self.deflation is not None:
            X, sigma = self.deflation
            seen.update(repr(sigma).encode())
            seen.update(X.cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()

    def rounding(self, filled: float) -> float:
        """A bound on the 2-norm of the rounding of adding σXXᵀ; ``filled`` ≥ ‖A‖_F."""
        if self.deflation is None:
            return 0.0
        X, sigma = self.deflation
        frobenius = filled + abs(self.shift) * math.sqrt(len(X))
        mass = float(torch.linalg.vector_norm(X)) ** 2
        return up(2 * U * frobenius + gamma(X.shape[1] + 4) * sigma * mass * 1.001 + TINY)


def cholesky_bound(
    shifted: Shifted,
    panels: Factored,
    callback: Callable[[str], Stage],
    *,
    afterwards: bool = False,
) -> float | None:
    """A lower bound on λ_min(S·K + σXXᵀ), or None if Cholesky broke down.

    ``afterwards`` bounds the error of the factor from the factor itself (B) and not from the error
    analysis of the algorithm (A). Leaves the factor in ``panels``.
    """
    taken = panels.decompose(shifted, callback)
    if taken is None:
        return None
    added, slack = shifted.rounding(taken.frobenius), shortfall(taken.diagonal)
    if afterwards:
        slack = factor_error(shifted, panels, callback("residual of the factor"))
    return down_to(shifted.shift - up(slack + added))


def factor_error(shifted: Shifted, panels: Factored, stage: Stage) -> float:
    """An upper bound on ‖A − LLᵀ‖_F, A read again and L in ``panels``.

    L is split into slices of so few bits that the leading products are exact in any order.
    """
    n, b = panels.n, panels.width
    bits = slice_bits(n + 1)
    squares, done = 0.0, 0
    for index, i in enumerate(range(0, n, b)):
        rows = _split_rows(panels, index, bits)
        for other in range(index + 1):
            j = other * b
            cols = rows if other == index else _split_rows(panels, other, bits)
            width = min(j + b, n)  # columns of L that reach row block `other`
            difference, bound = _difference(
                shifted.block(i, min(i + b, n), j, min(j + b, n)).to(rows[0]),
                rows,
                cols,
                width,
                bits,
            )
            norm = float(torch.linalg.vector_norm(difference)) * (1 + b * b * U) + bound
            squares += (1 if other == index else 2) * norm * norm
        done += i + b
        stage(done / (n * (n + b) / (2 * b)))
    return up(math.sqrt(squares) + TINY)


Split = tuple[Tensor, Tensor, Tensor, Tensor]


def _split_rows(panels: Factored, index: int, bits: int) -> Split:
    """Rows of block ``index`` of L, columns up to its diagonal, in slices with row scales."""
    rows = panels.rows(index).to(torch.float64)
    require_ieee(rows.device)
    return slices(rows, bits, 1)


def _difference(A: Tensor, rows: Split, cols: Split, width: int, bits: int) -> tuple[Tensor, float]:
    """A − LLᵀ of one block, and a bound on the Frobenius norm of its own error."""
    a1, a2, a3, a_scale = (t[:, :width] for t in rows)
    b1, b2, b3, b_scale = (t[:, :width] for t in cols)
    exact = a1 @ b1.T
    middle = a1 @ b2.T + a2 @ b1.T
    rest = a1 @ b3.T + a2 @ (b2 + b3).T + a3 @ ((b1 + b2) + b3).T
    leading, lost = two_sum(A, -exact)
    difference = ((leading - middle) + lost) - rest
    scales = float(torch.linalg.vector_norm(a_scale) * torch.linalg.vector_norm(b_scale))
    sums = sum(float(torch.linalg.vector_norm(t)) for t in (leading - middle, lost, rest))
    slack = gamma(width + 4) * width * 1.5 * 2.0 ** (-2 * bits) * scales
    return difference, up(1.001 * slack + 4 * U * sums)


def lehmann(found: Rayleigh, next_above: float, error: float = 0.0) -> list[float] | None:
    """Lower bounds on the k smallest eigenvalues, given λ_{k+1} ≥ ``next_above``.

    ``error`` bounds the distance of every matrix that was read from the covered matrix. ``found`` and
    ``next_above`` may belong to different reads, so the matrix of ``found`` has
    λ_{k+1} ≥ ``next_above`` − 2·``error``. Lehmann's bound holds for it, and its eigenvalues differ from
    the covered ones by at most ``error`` (Weyl). For k = 1 and two eigenvalues the bound is attained.
    None if the Ritz values reach the next eigenvalue.
    """
    top = max(up_to(t + e) for t, e in zip(found.values, found.errors, strict=True))
    gap = down_to(next_above - 2 * error) - top
    if gap <= 0:
        return None
    loss = up(found.residual * found.residual / (gap * (1 - 2 * U)))
    return [
        down_to(theta - up(e + error + loss))
        for theta, e in zip(found.values, found.errors, strict=True)
    ]
