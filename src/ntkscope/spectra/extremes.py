"""Several eigenvalues at both ends of a spectrum, and the condition number, as intervals."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.report import charts
from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import enclosed, enclosure
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.plan import Method, plan_for
from ntkscope.spectra.progress import Callback
from ntkscope.spectra.proof.norms import norm_bounds, trace_bound
from ntkscope.spectra.rounding import U
from ntkscope.spectra.smallest import as_eigenvalue, require_scale, workspace
from ntkscope.spectra.solvers.davidson import Found, as_ends, lowest_by_products
from ntkscope.spectra.solvers.dense import Ends, Engine, Pairs
from ntkscope.spectra.solvers.krylov import Done, block_lanczos, norm_estimate, random_block
from ntkscope.spectra.storage.source import Source, as_source

_KEPT = 64  # products, and Ritz values that are subtracted from a trace, at most


@dataclass(frozen=True)
class Extremes(Drawn, Tabular, Shown):
    """The k smallest eigenvalues in ascending and the k largest in descending order.

    Attributes
    ----------
    smallest: the k smallest, ascending.
    largest: the k largest, descending.
    """

    smallest: tuple[Eigenvalue, ...]
    largest: tuple[Eigenvalue, ...]

    def _rows(self) -> list[dict[str, Any]]:
        ends = (("smallest", self.smallest), ("largest", self.largest))
        return [
            {"end": name, "rank": rank, **e.to_dict()}
            for name, found in ends
            for rank, e in enumerate(found, 1)
        ]

    def _card(self) -> Card:
        rows = [
            (r["end"], str(r["rank"]), enclosed(r), r["status"].replace("_", " ").lower())
            for r in self._rows()
        ]
        grid = Grid("", ("end", "rank", "eigenvalue", "status"), rows, labels=1)
        return Card("Extreme eigenvalues", grids=[grid])

    def _chart(self) -> Chart:
        k = range(1, len(self.smallest) + 1)
        found = {"largest": self.largest, "smallest": self.smallest}
        return charts.curves(
            "rank from the end", "eigenvalue of K", k,
            {name: [e.value for e in ends] for name, ends in found.items()},
            log=(False, all(e.value > 0 for e in self.smallest)),
            errors={
                name: [e.error if math.isfinite(e.error) else 0.0 for e in ends]
                for name, ends in found.items()
            },
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "smallest": [e.to_dict() for e in self.smallest],
            "largest": [e.to_dict() for e in self.largest],
        }


@dataclass(frozen=True)
class ConditionNumber(Shown):
    """λ_max/λ_min with an interval, from the intervals of λ_max and λ_min.

    ``upper`` is infinite where λ_min cannot be told from zero; ``status`` is that of λ_min.

    Attributes
    ----------
    value: λ_max/λ_min.
    lower, upper: an interval that contains it.
    status: of λ_min.
    smallest, largest: the eigenvalues.
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
        return f"{enclosure(self.lower, self.upper, self.value)} ({self.status.value})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without λ_min and λ_max themselves."""
        return {
            "value": self.value, "lower": self.lower, "upper": self.upper,
            "status": self.status.name,
        }  # fmt: skip


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
    end if a gap separates them from the other eigenvalues. Otherwise all have the bound of the outermost.

    Parameters
    ----------
    K, certify, method, memory, progress: as in :func:`smallest_eigenvalue`.
    k: eigenvalues at each end, 1, …, N.

    Returns
    -------
    Extremes, each eigenvalue with its interval.

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
        high = _largest_by_products(source, k, low.norm)
    else:
        read, panels, _ = workspace(source, steps)
        engine = Engine(read, panels, progress, afterwards=source.device.type != "cpu")
        low = engine.enclose(engine.pairs(k), k, certify=certify)
        high = _largest_by_factors(engine, k, certify)
    seconds = time.perf_counter() - begin
    return Extremes(
        *(
            tuple(as_eigenvalue(source, ends, i, certify, seconds) for i in range(k))
            for ends in (low, high)
        )
    )


def largest_eigenvalue(
    K: Any, *, method: str = "auto", memory: float | None = None, progress: Callback | None = None
) -> Eigenvalue:
    """λ_max of a symmetric matrix as an interval.

    Lower bound: the Rayleigh quotient of a Lanczos vector. Upper bound: a Cholesky factorisation of νI − K or,
    if K is not formed, the minimum of tr K, ‖K‖_F and the largest row sum. ``method`` names it.

    Raises what :func:`smallest_eigenvalue` raises.
    """
    begin = time.perf_counter()
    source = as_source(K)
    require_scale(source)
    steps = plan_for(source, True, False, method, memory)
    if steps.method.by_products:
        norm = norm_estimate(source.matmul, source.n, source.device)
        high = _largest_by_products(source, 1, norm)
    else:
        read, panels, _ = workspace(source, steps)
        engine = Engine(read, panels, progress, afterwards=source.device.type != "cpu")
        high = _largest_by_factors(engine, 1, certify=True)
    return as_eigenvalue(source, high, 0, True, time.perf_counter() - begin)


def condition_number(
    K: Any, *, method: str = "auto", memory: float | None = None, progress: Callback | None = None
) -> ConditionNumber:
    """λ_max/λ_min of a symmetric positive definite matrix, with its interval.

    Parameters
    ----------
    K, method, memory, progress: as in :func:`smallest_eigenvalue`.

    Returns
    -------
    ConditionNumber, an interval.

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

    return _ritz_pairs(source, block, done, min(n, k + block + 2))


def _ritz_pairs(source: Source, block: int, done: Done, keep: int, most: int = 600) -> Pairs:
    """Lanczos on K, then a Rayleigh-Ritz step with the first ``keep`` vectors; the pairs of −K."""
    n = source.n
    found = block_lanczos(
        source.matmul, random_block(n, block, source.device), done,
        keep=keep, max_columns=min(n, most),
    )  # fmt: skip
    X = torch.linalg.qr(found.vectors)[0]
    Y = source.matmul(X)
    values, turn = torch.linalg.eigh(-(X.T @ Y + Y.T @ X) / 2)
    X, Y = X @ turn, -Y @ turn
    residuals = torch.linalg.vector_norm(Y - X * values, dim=0)
    return Pairs(
        values.tolist(), X, residuals.tolist(), found.products, found.converged, method="Lanczos"
    )


def _largest_by_factors(engine: Engine, k: int, certify: bool) -> Ends:
    """The upper end, enclosed by a factorisation of νI − K."""
    top = _top_pairs(engine.source, k, engine.rounding)
    return _mirrored(engine.enclose(top, k, certify=certify, sign=-1.0))


def _largest_by_products(source: Source, k: int, norm: float) -> Ends:
    """The upper end from products alone: lower bounds and estimates, and a norm of K above."""
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
    ends = _mirrored(as_ends(source, found, norm, "block Lanczos on products", sign=-1.0))
    bounds = norm_bounds(source)
    if not bounds:
        return ends
    if "trace" in bounds:
        slack = source.error + 2 * source.n * U * norm  # of the matrix, and of the products
        bounds["trace beyond the Ritz values"] = trace_bound(
            [-v for v in pairs.values], [r + slack for r in pairs.residuals], bounds["trace"]
        )
    name = min(bounds, key=lambda name: bounds[name])
    return replace(
        ends, upper=[min(u, bounds[name]) for u in ends.upper],
        method=f"{ends.method}, above: {name} bound",
    )  # fmt: skip


def largest_of_trace(kernel: Kernel, trace: float, above: float = math.inf) -> Eigenvalue:
    """λ_max of a positive semidefinite kernel of known trace, from products with it.

    Lanczos ends when the trace less the sum of the Ritz values is below the first of them. This bounds λ_max
    from above to 1e-3 (:func:`~ntkscope.spectra.proof.norms.trace_bound`). It ends after 64 products in any
    case; the bound is then wider, and the status NOT_CONVERGED. The products are taken as exact up to n u ‖K‖.
    ``trace``: an upper bound. ``above``: another upper bound on λ_max, if one is known.
    """
    begin, source = time.perf_counter(), Source(kernel)
    n, unit = source.n, torch.finfo(kernel.dtype).eps

    def done(values: Tensor, residuals: Tensor) -> bool:
        sizes = residuals[:_KEPT] + n * unit * values[0]
        found = values[:_KEPT].tolist()
        bound = min(above, trace_bound(found, sizes.tolist(), trace))
        return bound <= found[0] * (1 + 1e-3)

    pairs = _ritz_pairs(source, min(n, 4), done, min(n, _KEPT), _KEPT)
    values = [-v for v in pairs.values]
    rounding = n * unit * values[0]
    left = trace_bound(values, [r + rounding for r in pairs.residuals], trace)
    bound = "what the Ritz values leave of the trace" if left < above else "a bound that was given"
    return Eigenvalue(
        value=values[0], lower=values[0] - rounding, upper=max(min(left, above), values[0]),
        status=Status.OK if pairs.converged else Status.NOT_CONVERGED,
        method=f"block Lanczos on products, above: {bound}",
        covers=kernel.covers, seconds=time.perf_counter() - begin, vector=pairs.vectors[:, 0],
        residual=pairs.residuals[0], matvecs=pairs.solves,
    )  # fmt: skip


def _mirrored(ends: Ends) -> Ends:
    """The ends of −K as those of K."""
    return replace(
        ends,
        values=[-v for v in ends.values],
        lower=[-v for v in ends.upper],
        upper=[-v for v in ends.lower],
    )
