"""(K + ridge·I) x = y for kernels of any kind and size, with a bound on the error of x."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope._base.memory import available
from ntkscope.report.result import Result
from ntkscope.spectra.progress import Callback, Stage
from ntkscope.spectra.rounding import U, down_to, symmetric_product, two_product, two_sum, up, up_to
from ntkscope.spectra.solvers.pivoted import Preconditioner, pivoted_preconditioner
from ntkscope.spectra.storage.source import Source, as_source

_RANK_MOST = 2000
_ROUNDS = 4  # of conjugate gradients, each from the residual of the last


@runtime_checkable
class Floor(Protocol):
    """A result with a lower bound on λ_min(K): an :class:`Eigenvalue`, a :class:`StreamedBound`."""

    @property
    def lower(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Solution(Result, without=("x",)):
    """x with (K + ridge·I) x ≈ y.

    Attributes
    ----------
    x: (N,) or (N, C), as y was.
    residual: an upper bound on ‖y − (K + ridge·I) x‖₂, the largest of the columns, with rounding and the
        kernel's own error; the computed value if K is an operator.
    relative_residual: the largest ‖y − (K + ridge·I) x‖₂/‖y‖₂ of a column, K as it is read.
    bound: an upper bound on ‖x − (K + ridge·I)⁻¹y‖₂ of every column if ``smallest`` is proved; else None.
    smallest: a proved lower bound on λ_min(K + ridge·I), or None.
    converged: whether ``relative_residual`` is within the tolerance.
    iterations: of conjugate gradients; rank: columns of the preconditioner.
    covers: the matrix to which residual and bound refer.
    seconds: wall time.
    """

    x: Tensor
    residual: float
    relative_residual: float
    bound: float | None
    smallest: float | None
    converged: bool
    iterations: int
    rank: int
    covers: str
    seconds: float

    def __str__(self) -> str:
        error = (
            "no bound on the error of x: pass floor=smallest_eigenvalue(K), or a ridge"
            if self.bound is None
            else f"‖x − exact‖ ≤ {self.bound:.3g}, from λ_min(K + ridge·I) ≥ {self.smallest:.6g}"
        )
        state = "" if self.converged else " (not converged)"
        return f"residual {self.residual:.3g}{state} after {self.iterations} iterations; {error}"


def solve(
    K: Any,
    y: Any,
    *,
    ridge: float = 0.0,
    tol: float = 1e-8,
    floor: float | Floor | None = None,
    rank: int | None = None,
    max_iterations: int = 2000,
    memory: float | None = None,
    seed: int = 0,
    progress: Callback | None = None,
) -> Solution:
    """x of (K + ridge·I) x = y by preconditioned conjugate gradients: products with K alone.

    K is formed if it fits into half of the free memory, and otherwise read tile by tile. With
    r = y − (K + ridge·I) x, ‖x − exact‖₂ ≤ ‖r‖₂/λ for any proved λ ≤ λ_min(K + ridge·I).

    Parameters
    ----------
    K: as in :func:`smallest_eigenvalue`.
    y: (N,) or (N, C).
    ridge: ≥ 0, added to the diagonal.
    tol: of ‖r‖₂/‖y‖₂, in (0, 1).
    floor: a lower bound on λ_min(K), or a result with one. Without it the bound of a kernel that is known
        to be positive semidefinite is 0.
    rank: columns of the preconditioner, by default 8√N and at most 2000.
    memory: bytes allowed, by default nine tenths of the free memory.
    seed: of the columns that are drawn.
    max_iterations: of conjugate gradients.
    progress: called with a :class:`Progress` now and then.

    Returns
    -------
    Solution, with a bound on its residual and, where λ_min is bounded, on its error.

    Raises
    ------
    ValueError
        If y has the wrong shape, a number is out of range, or K + ridge·I proves not to be
            positive definite.
    """
    begin = time.perf_counter()
    source = as_source(K)
    Y = _right_side(y, source.n).to(source.device)
    rank = _checked(source.n, ridge, tol, rank, max_iterations)
    budget = 0.9 * available(source.device) if memory is None else float(memory)
    if not source.operator and (16 * source.n**2 <= budget or not source.repeatable):
        source = source.formed()
    solver = _Solver(source, Y, ridge, tol, max_iterations)
    X, norms = solver.run(_preconditioner(source, rank, ridge, seed), progress)
    size = torch.linalg.vector_norm(Y, dim=0)
    relative = torch.where(size > 0, norms / size.clamp(min=1e-300), norms)
    smallest = _smallest(source, ridge, floor)
    own = source.error * torch.linalg.vector_norm(X, dim=0) * (1 + (source.n + 4) * U)
    residual = up(float((norms + own).max()))
    return Solution(
        x=X[:, 0] if torch.as_tensor(y).ndim == 1 else X,
        residual=residual, relative_residual=float(relative.max()),
        bound=None if smallest is None else up(residual / smallest), smallest=smallest,
        converged=bool((relative <= tol).all()), iterations=solver.iterations, rank=rank,
        covers=source.covers, seconds=time.perf_counter() - begin,
    )  # fmt: skip


def _right_side(y: Any, n: int) -> Tensor:
    Y = torch.as_tensor(y)
    Y = as_data(Y[:, None] if Y.ndim == 1 else Y, dtype=torch.float64)
    if len(Y) != n:
        raise ValueError(f"y has {len(Y)} rows, the kernel {n}")
    return Y


def _checked(n: int, ridge: float, tol: float, rank: int | None, max_iterations: int) -> int:
    """The rank; ValueError for numbers out of range."""
    if not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be ≥ 0 and finite, got {ridge}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be within (0, 1), got {tol}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    if rank is None:
        return min(n // 4, int(8 * math.sqrt(n)), _RANK_MOST)
    if isinstance(rank, bool) or not 0 <= rank <= n:
        raise ValueError(f"rank must be within 0 … N = {n}, got {rank}")
    return rank


def _preconditioner(
    source: Source, rank: int, ridge: float, seed: int
) -> Callable[[Tensor], Tensor]:
    if source.operator or rank == 0:
        return lambda R: R
    made: Preconditioner = pivoted_preconditioner(source, rank, ridge, seed)
    return made


def _smallest(source: Source, ridge: float, floor: float | Floor | None) -> float | None:
    """A proved positive lower bound on λ_min(K + ridge·I), if there is one."""
    if source.operator:
        return None  # its products round as nobody says
    if floor is None:
        known = 0.0 if source.semidefinite else -math.inf
    elif isinstance(floor, int | float):
        known = float(floor)
    else:
        known = floor.lower if getattr(floor, "proved", True) else -math.inf
    total = ridge if known == 0 else down_to(known + ridge)
    return total if total > 0 else None


class _Solver:
    """Conjugate gradients on every column at once, restarted from residuals with twice the digits."""

    def __init__(
        self, source: Source, Y: Tensor, ridge: float, tol: float, max_iterations: int
    ) -> None:
        self.source, self.Y, self.ridge = source, Y, ridge
        self.wanted = tol * torch.linalg.vector_norm(Y, dim=0)
        self.most, self.iterations = max_iterations, 0

    def run(
        self, precondition: Callable[[Tensor], Tensor], callback: Callback | None
    ) -> tuple[Tensor, Tensor]:
        """X, and bounds on the norms of its residuals."""
        stage = Stage("conjugate gradients", callback)
        best = torch.zeros_like(self.Y)
        R, norms = self.residual(best)
        for _ in range(_ROUNDS):
            open_columns = norms > self.wanted
            if not bool(open_columns.any()) or self.iterations >= self.most:
                break
            X = best + self._gradients(R * open_columns, precondition, stage)
            left, found = self.residual(X)
            better = found < norms
            gained = bool((found < 0.9 * norms)[open_columns].any())
            best, R = torch.where(better, X, best), torch.where(better, left, R)
            norms = torch.minimum(found, norms)
            if not gained:
                break
        return best, norms

    def _gradients(
        self, R: Tensor, precondition: Callable[[Tensor], Tensor], stage: Stage
    ) -> Tensor:
        """An approximation of (K + ridge·I)⁻¹R, to half of the tolerance."""
        X = torch.zeros_like(R)
        Z = precondition(R)
        P, gamma = Z.clone(), (R * Z).sum(dim=0)
        start = torch.linalg.vector_norm(R, dim=0)
        while self.iterations < self.most:
            size = torch.linalg.vector_norm(R, dim=0)
            # float64 loses track of its residual some thirteen digits below the first
            active = size > torch.maximum(0.5 * self.wanted, 1e-13 * start)
            if not bool(active.any()):
                break
            worst = float((size / self.wanted.clamp(min=1e-300)).max())
            stage(min(0.99, 1 / max(worst, 1.0)), worst)
            Q = self.source.matmul(P) + self.ridge * P
            curvature = (P * Q).sum(dim=0)
            if bool((curvature[active] <= 0).any()):
                raise ValueError(
                    "K + ridge·I is not positive definite as far as rounding can tell: "
                    "pᵀ(K + ridge·I)p ≤ 0 for a direction of conjugate gradients; use a larger ridge"
                )
            alpha = torch.where(active, gamma / curvature.clamp(min=1e-300), 0.0)
            X += alpha * P
            R = R - alpha * Q
            Z = precondition(R)
            after = (R * Z).sum(dim=0)
            P = Z + torch.where(active, after / gamma.clamp(min=1e-300), 0.0) * P
            gamma = after
            self.iterations += 1
        return X

    def residual(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Y − (K + ridge·I) X, and bounds on the norms of its columns, for K as read."""
        n = self.source.n
        if self.source.operator:
            R = self.Y - self.source.matmul(X) - self.ridge * X
            return R, torch.linalg.vector_norm(R, dim=0)
        made = symmetric_product(self.source.block, n, X, self.source.side)
        product, lost = two_product(X, torch.full_like(X, self.ridge))
        first, lost_1 = two_sum(self.Y, -made.high)
        second, lost_2 = two_sum(first, -product)
        small = lost_1 + lost_2 - lost - made.low
        R = second + small
        parts = sum(torch.linalg.vector_norm(p, dim=0) for p in (lost_1, lost_2, lost, made.low))
        norms = torch.linalg.vector_norm(R, dim=0) * (1 + (n + 4) * U) + 8 * U * parts + made.error
        return R, norms.new_tensor([up_to(up(float(x))) for x in norms])
