"""One float64 Cholesky factorisation in place of two, if float32 can find the eigenvectors.

A float32 factor of K gives approximate vectors X. The certificate needs the factor of K + σXXᵀ − νI; by
Woodbury's formula this factor also gives (K − νI)⁻¹. Since ν is close to λ_1, a few solves reach full
accuracy. No proof uses float32 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.spectra.progress import Stage
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import Source

_BLOCK = 8
_KEEP = 6  # Ritz vectors: those that may be deflated, and behind them a gap
_MOST = 4  # vectors deflated at most
_COLUMNS = 600
_RATIO = 0.1  # of the residual to the gap behind it
_ABOVE_NOISE = 100.0  # times what float32 does to an eigenvalue
_UNIT_32 = 2.0**-24


@dataclass(frozen=True)
class Start:
    """Approximate lowest eigenpairs, and the number of them before a gap.

    values, vectors, residuals: ascending, of K itself; size: vectors to deflate; solves: done.
    """

    values: list[float]
    vectors: Tensor
    residuals: list[float]
    size: int
    solves: int


def single_start(
    source: Source, panels: Panels, k: int, slack: float, callback: Callable[[str], Stage]
) -> Start | None:
    """The lowest eigenpairs from a float32 Cholesky factor, which is written over ``panels``.

    None if float32 cannot separate them: the factorisation breaks down, or its rounding is
    not small against the eigenvalue or the gaps after it. A gap must exceed 8 ``slack``.
    """
    diagonal = source.diagonal()
    if not 1e-15 < float(diagonal.min()) <= float(diagonal.max()) < 1e15:
        return None
    noise = _UNIT_32 * math.sqrt(source.n) * float(diagonal.mean())
    low = panels.single()
    low.fill(source.block, callback("forming in float32"))
    if not low.factor(callback("float32 Cholesky"), _ABOVE_NOISE * noise):
        return None
    stage, lost_in_noise = callback("inverse Lanczos in float32"), False

    def done(values: Tensor, residuals: Tensor) -> bool:
        nonlocal lost_in_noise
        usable = values > 0
        lam = (1 / values[usable]).tolist()
        res = (residuals[usable] / values[usable] ** 2).tolist()
        lost_in_noise = not lam or lam[0] < _ABOVE_NOISE * noise
        return lost_in_noise or _gapped(lam, res, k, 8 * slack) is not None

    ritz = block_lanczos(
        low.solve, random_block(source.n, _BLOCK, source.device).to(torch.float32), done,
        keep=_KEEP, max_columns=min(_COLUMNS, source.n),
        report=lambda residual: stage(0.5, residual),
    )  # fmt: skip
    if lost_in_noise or not ritz.converged:
        return None
    X = torch.linalg.qr(ritz.vectors.to(torch.float64))[0]
    values, X, Y = _rayleigh_ritz(X, source.matmul(X))
    R = Y - X * values
    # float32 leaves a little of the largest eigenvalues' vectors, which one correction takes out
    scale = torch.linalg.vector_norm(R, dim=0).clamp_min(1e-300)
    new = low.solve(R / scale).to(torch.float64)
    for _ in range(2):
        new = torch.linalg.qr(new - X @ (X.T @ new))[0]
    both, products = torch.cat([X, new], dim=1), torch.cat([Y, source.matmul(new)], dim=1)
    values, X, Y = _rayleigh_ritz(both, products, _KEEP)
    residuals = torch.linalg.vector_norm(Y - X * values, dim=0).tolist()
    # what is left of those weighs more in the residuals than in what the deflation needs
    size = _gapped(values.tolist(), residuals, k, 8 * slack, 1.0)
    if size is None:
        return None
    return Start(values.tolist(), X, residuals, size, ritz.products + _KEEP)


def _gapped(
    values: list[float], residuals: list[float], k: int, least: float, ratio: float = _RATIO
) -> int | None:
    """The m ≥ ``k`` with the smallest ratio of residual to the gap after it, if that is small."""
    best, chosen = ratio, None
    for m in range(k, min(k + _MOST, len(values) - 1)):
        gap = values[m] - values[m - 1]
        size = math.sqrt(sum(r * r for r in residuals[:m]))
        if gap > least and size < best * gap:
            best, chosen = size / gap, m
    return chosen


def _rayleigh_ritz(X: Tensor, Y: Tensor, keep: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values, vectors X and their products Y = K X, of orthonormal columns X."""
    H = X.T @ Y
    values, turn = torch.linalg.eigh((H + H.T) / 2)
    values, turn = values[:keep], turn[:, :keep]
    return values, X @ turn, Y @ turn


def finished(
    source: Source,
    panels: Panels,
    start: Start,
    shift: float,
    sigma: float,
    enough: Callable[[list[float], list[float]], bool],
    stage: Stage,
) -> tuple[list[float], Tensor, list[float], int] | None:
    """The first ``start.size`` pairs to full accuracy: values, vectors, residuals, solves.

    ``panels`` holds the factor of K + σXXᵀ − shift·I, X the vectors of ``start``; the eigenvalues
    below the shift are the negative ones of (K − shift·I)⁻¹. ``enough`` takes the values and the
    residuals expected after one more solve.
    """  # fmt: skip
    m = start.size
    X = start.vectors[:, :m].contiguous()
    S = panels.solve(X)
    core = torch.eye(m, dtype=X.dtype, device=X.device) / sigma - X.T @ S

    def apply(B: Tensor) -> Tensor:
        return -panels.solve(B) - S @ torch.linalg.solve(core, S.T @ B)

    def done(values: Tensor, residuals: Tensor) -> bool:
        first, res = values[:m], residuals[:m]
        if not bool((first > 0).all()):
            return False
        return enough((shift - 1 / first).tolist(), (res / first**2).tolist())

    ritz = block_lanczos(
        apply, X, done, keep=m, max_columns=min(24 * m, source.n // 2),
        report=lambda residual: stage(0.5, residual),
    )  # fmt: skip
    if not ritz.converged:
        return None
    Q = torch.linalg.qr(apply(ritz.vectors))[0]
    values, Q, Y = _rayleigh_ritz(Q, source.matmul(Q))
    residuals = torch.linalg.vector_norm(Y - Q * values, dim=0).tolist()
    return values.tolist(), Q, residuals, ritz.products + 2 * m
