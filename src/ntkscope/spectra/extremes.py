"""Several eigenvalues at both ends of a spectrum, and the condition number, as intervals."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.plan import Method, plan_for
from ntkscope.spectra.progress import Callback
from ntkscope.spectra.rounding import U
from ntkscope.spectra.smallest import as_eigenvalue, require_scale, workspace
from ntkscope.spectra.solvers.davidson import Found, as_ends, lowest_by_products
from ntkscope.spectra.solvers.dense import Ends, Engine, Pairs
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block
from ntkscope.spectra.storage.source import Source, as_source


@dataclass(frozen=True)
class Extremes:
    """The k smallest eigenvalues in ascending and the k largest in descending order."""

    smallest: tuple[Eigenvalue, ...]
    largest: tuple[Eigenvalue, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "smallest": [e.to_dict() for e in self.smallest],
            "largest": [e.to_dict() for e in self.largest],
        }


@dataclass(frozen=True)
class ConditionNumber:
    """λ_max/λ_min with the interval that follows from those of its parts.

    ``upper`` is infinite where λ_min cannot be told from zero; ``status`` is that of λ_min.
    """

    value: float
    lower: float
    upper: float
    status: Status
    smallest: Eigenvalue
    largest: Eigenvalue

    @classmethod
    def of(cls, low: Eigenvalue, high: Eigenvalue) -> ConditionNumber:
        """The quotient of the largest and the smallest eigenvalue."""
        nearest = math.nextafter(max(high.lower, 0.0) / low.upper, 0.0) if low.upper > 0 else 1.0
        return cls(
            value=high.value / low.value if low.value > 0 else math.inf,
            lower=nearest,
            upper=math.nextafter(high.upper / low.lower, math.inf) if low.lower > 0 else math.inf,
            status=low.status,
            smallest=low,
            largest=high,
        )

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} in [{self.lower:.6g}, {self.upper:.6g}] ({self.status.value})"


def extreme_eigenvalues(
    K: Any,
    k: int = 1,
    *,
    certify: bool = True,
    method: str = "auto",
    memory: float | None = None,
    progress: Callback | None = None,
) -> Extremes:
    """The k smallest and the k largest eigenvalues of a symmetric matrix, each with its interval.

    Takes what :func:`smallest_eigenvalue` takes. One Cholesky factorisation certifies all k of an
    end where a gap lies behind them; otherwise they share the bound of the outermost.

    Raises ValueError for k outside 1, …, N, besides what :func:`smallest_eigenvalue` raises.
    """
    begin = time.perf_counter()
    source = as_source(K)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= source.n:
        raise ValueError(f"k must be an integer from 1 to N = {source.n}, got {k!r}")
    require_scale(source)
    steps = plan_for(source, certify, False, method, memory)
    if steps.method.by_products:
        low = lowest_by_products(
            source, k, single=steps.method is Method.FLOAT32, tolerance=1e-6, callback=progress
        )
        high = _mirrored(_largest_by_products(source, k, low.norm))
    else:
        read, panels, _ = workspace(source, steps)
        engine = Engine(read, panels, progress, afterwards=source.device.type != "cpu")
        low = engine.enclose(engine.pairs(k), k, certify=certify)
        top = _top_pairs(read, k, engine.rounding)
        high = _mirrored(engine.enclose(top, k, certify=certify, sign=-1.0))
    seconds = time.perf_counter() - begin
    return Extremes(
        *(
            tuple(as_eigenvalue(source, ends, i, certify, seconds) for i in range(k))
            for ends in (low, high)
        )
    )


def condition_number(
    K: Any, *, method: str = "auto", memory: float | None = None, progress: Callback | None = None
) -> ConditionNumber:
    """λ_max/λ_min of a symmetric positive definite matrix, with its interval.

    Raises what :func:`smallest_eigenvalue` raises.
    """
    ends = extreme_eigenvalues(K, 1, method=method, memory=memory, progress=progress)
    return ConditionNumber.of(ends.smallest[0], ends.largest[0])


def _top_pairs(source: Source, k: int, rounding: float) -> Pairs:
    """The lowest pairs of −K, by Lanczos on K itself: the upper end of a kernel is well separated."""
    n = source.n
    block = min(n, max(2, min(k + 1, 8)))

    def done(values: Tensor, residuals: Tensor) -> bool:
        if len(values) <= k:
            return False
        gap = float(values[k - 1] - values[k])
        size = float(torch.linalg.vector_norm(residuals[:k]))
        return size <= rounding or (gap > 0 and size * size <= 1e-14 * gap * float(values[0].abs()))

    found = block_lanczos(
        source.matmul, random_block(n, block, source.device), done,
        keep=min(n, k + block + 2), max_columns=min(n, 600),
    )  # fmt: skip
    X = torch.linalg.qr(found.vectors)[0]
    Y = source.matmul(X)
    values, turn = torch.linalg.eigh(-(X.T @ Y + Y.T @ X) / 2)
    X, Y = X @ turn, -Y @ turn
    residuals = torch.linalg.vector_norm(Y - X * values, dim=0)
    return Pairs(
        values.tolist(), X, residuals.tolist(), found.products, found.converged, method="Lanczos"
    )


def _largest_by_products(source: Source, k: int, norm: float) -> Ends:
    """The lower end of −K from products alone: upper bounds and estimates."""
    pairs = _top_pairs(source, k, 4 * math.sqrt(source.n) * U * norm)
    errors = []
    for i in range(k):
        residual = pairs.residuals[i]
        gap = pairs.values[k] - pairs.values[i] if len(pairs.values) > k else 0.0
        errors.append(min(residual, residual**2 / gap) if gap > 0 else residual)
    found = Found(
        pairs.values[:k], pairs.vectors[:, :k], pairs.residuals[:k], errors, pairs.solves,
        pairs.converged,
    )  # fmt: skip
    return as_ends(source, found, norm, "block Lanczos on products", sign=-1.0)


def _mirrored(ends: Ends) -> Ends:
    """The ends of −K as those of K."""
    return replace(
        ends,
        values=[-v for v in ends.values],
        lower=[-v for v in ends.upper],
        upper=[-v for v in ends.lower],
    )
