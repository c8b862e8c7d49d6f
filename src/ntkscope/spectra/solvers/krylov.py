"""Ritz pairs at the ends of a spectrum: block Lanczos with full reorthogonalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.spectra.storage.blas import transposed_product

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenpairs of an operator, its largest first.

    values (m,), vectors (n, k) of the first k, residuals (m,) of the operator's own pairs,
    products: the number of products with a vector.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


Done = Callable[[Tensor, Tensor], bool]
"""(Ritz values, residuals), largest first → whether they are good enough."""


def block_lanczos(
    apply: Apply,
    start: Tensor,
    done: Done,
    *,
    keep: int,
    max_columns: int,
    report: Callable[[float], None] | None = None,
) -> Ritz:
    """The largest eigenpairs of a symmetric operator, from an (n, p) ``start`` block.

    Every new block is orthogonalised twice against all earlier blocks. So an eigenvalue is found at most as
    often as its multiplicity and the block width. The basis has the precision of ``start``, the projection
    is in float64.
    """
    n, p = start.shape
    limit = min(max_columns, n)
    basis = torch.empty(n, min(limit, 8 * p), dtype=start.dtype, device=start.device)
    projected = torch.zeros(limit, limit, dtype=torch.float64, device=start.device)
    basis[:, :p] = torch.linalg.qr(start)[0]
    m, checked = p, 0
    while True:
        W = apply(basis[:, m - p : m].contiguous())
        Q = basis[:, :m]
        coefficients = transposed_product(Q, W)
        W = W - Q @ coefficients
        correction = transposed_product(Q, W)
        W = W - Q @ correction
        projected[:m, m - p : m] = coefficients.double() + correction
        new, between = torch.linalg.qr(W)
        last = m >= limit
        if last or m >= checked * 1.1 + 2:
            checked = m
            values, vectors, residuals = _ritz(projected[:m, :m], between, p)
            finished = done(values, residuals)
            if report is not None:
                report(float(residuals[0] / values[0].abs().clamp_min(1e-300)))
            if finished or last:
                return Ritz(values, Q @ vectors[:, :keep].to(Q.dtype), residuals, m, finished)
        if m + p > basis.shape[1]:
            basis = _grown(basis, limit)
        # what rounding left of the old basis in the new block, taken out once more
        p = min(p, limit - m)
        new = new[:, :p] - Q @ transposed_product(Q, new[:, :p])
        basis[:, m : m + p] = torch.linalg.qr(new)[0]
        m += p


def _ritz(projected: Tensor, between: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    upper = torch.triu(projected)
    symmetric = upper + torch.triu(projected, 1).T
    values, vectors = torch.linalg.eigh(symmetric)
    values, vectors = values.flip(0), vectors.flip(1)
    residuals = torch.linalg.vector_norm(between.double() @ vectors[-p:], dim=0)
    return values, vectors, residuals


def _grown(basis: Tensor, limit: int) -> Tensor:
    columns = min(2 * basis.shape[1], limit)
    grown = torch.empty(len(basis), columns, dtype=basis.dtype, device=basis.device)
    grown[:, : basis.shape[1]] = basis
    return grown


def random_block(n: int, p: int, like: Tensor | torch.device, seed: int = 0) -> Tensor:
    """A reproducible (n, p) Gaussian block, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(n, p, generator=generator, dtype=torch.float64)
    return block.to(like.device if isinstance(like, Tensor) else like)


def norm_estimate(
    apply: Apply, n: int, device: torch.device, *, steps: int = 10, tolerance: float = 0.01
) -> float:
    """A lower estimate of ‖K‖₂: Lanczos with at most ``steps`` products; within a few percent for a kernel."""

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[0] <= tolerance * values[0].abs())

    found = block_lanczos(
        apply, random_block(n, 1, device), done, keep=1, max_columns=min(steps, n)
    )
    return max(abs(float(found.values[0])), abs(float(found.values[-1])), math.ulp(0.0))
