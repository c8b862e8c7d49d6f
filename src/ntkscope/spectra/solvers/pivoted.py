"""A preconditioner from a few columns: randomly pivoted Cholesky."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.spectra.storage.blas import transposed_product
from ntkscope.spectra.storage.source import Source

_BLOCKS = 4  # passes over a kernel whose columns are read with all the others


@dataclass(frozen=True)
class Preconditioner:
    """(U S² Uᵀ + μI)⁻¹ of orthonormal columns U (N, k)."""

    vectors: Tensor
    squares: Tensor
    rest: float

    @property
    def rank(self) -> int:
        return self.vectors.shape[1]

    def __call__(self, R: Tensor) -> Tensor:
        inside = transposed_product(self.vectors, R)
        scale = 1 / (self.squares + self.rest) - 1 / self.rest
        return R / self.rest + self.vectors @ (scale[:, None] * inside)


def pivoted_preconditioner(source: Source, rank: int, ridge: float, seed: int) -> Preconditioner:
    """A preconditioner of K + ridge·I from ``rank`` columns of K, drawn in proportion to the residual diagonal.

    Blocks of columns: Chen, Epperly, Tropp and Webber, CPAM 78 (2025), Algorithm 3; as a preconditioner:
    Díaz, Epperly, Frangella, Tropp and Webber, arXiv:2304.12465. The residual diagonal is added
    to the ridge, so a kernel without a ridge is preconditioned too.
    """
    n = source.n
    generator = torch.Generator().manual_seed(seed)
    left = source.diagonal().cpu().clamp(min=0.0)
    first = float(left.sum())
    F = torch.zeros(n, rank, dtype=torch.float64)
    have, step = 0, -(-rank // _BLOCKS) if rank else 1
    while have < rank and float(left.sum()) > 1e-14 * first:
        wanted = min(step, rank - have, int((left > 0).sum()))
        pivots = torch.multinomial(left, wanted, generator=generator).sort().values
        G = source.columns(pivots).cpu() - F[:, :have] @ F[pivots, :have].T
        core = G[pivots]
        # near-duplicate pivots: a shift costs the preconditioner nothing that matters
        core = (core + core.T) / 2
        core.diagonal().add_(1e-12 * float(core.diagonal().clamp(min=0.0).sum()) + 1e-300)
        L, info = torch.linalg.cholesky_ex(core)
        if int(info) != 0:
            break  # rounding is all that is left
        new = torch.linalg.solve_triangular(L.T, G, upper=True, left=False)
        F[:, have : have + wanted] = new
        have += wanted
        left = (left - new.square().sum(dim=1)).clamp(min=0.0)
        left[pivots] = 0.0
    U, S, _ = torch.linalg.svd(F[:, :have], full_matrices=False)
    rest = ridge + float(left.sum()) / n
    rest = max(rest, 1e-14 * first / n, 1e-300)
    return Preconditioner(U.to(source.device), S.square().to(source.device), rest)
