"""λ_min of a kernel matrix, as a certified interval."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ntkscope.engines.engine import Engine
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.plan import Method, Plan, plan_for
from ntkscope.spectra.progress import Callback
from ntkscope.spectra.solvers import dense
from ntkscope.spectra.solvers.davidson import lowest_by_products
from ntkscope.spectra.solvers.dense import Ends
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import LentSource, Source, as_source
from ntkscope.spectra.tiled.place import Place
from ntkscope.spectra.tiled.run import lowest_by_tiles

# a packed matrix of more rows starts in float64: what float32 leaves grows like √N, gaps shrink, and to find out takes
# a factorisation and its solves
_SINGLE = 16384


def smallest_eigenvalue(
    K: Any,
    *,
    certify: bool = True,
    method: str = "auto",
    in_place: bool = False,
    tolerance: float = 1e-6,
    memory: float | None = None,
    engine: Engine | None = None,
    folder: str | Path | None = None,
    progress: Callback | None = None,
) -> Eigenvalue:
    """λ_min of a symmetric matrix, with an interval that contains it and a unit eigenvector.

    Parameters
    ----------
    K: a :class:`Kernel` of any kind, an (N, N) tensor or array, a scipy ``LinearOperator``, or
        ``(apply, N)``, a function of an (N,) tensor with its size.
    certify: prove a lower bound, at the cost of a second Cholesky factorisation.
    method: see :func:`plan`, which shows what ``"auto"`` would choose.
    in_place: use the lower triangle of ``K`` as workspace; it is written back at the end.
    tolerance: relative, of the methods that iterate with products ("float32", "products"). A
        factorisation is accurate to rounding.
    memory: bytes allowed, by default nine tenths of the free memory.
    engine: factor tile by tile on local processes, a Dask cluster or SLURM: ``Engine(workers=2)``.
    folder: for the tiles of a factor, on a disk that every worker can read. A killed run resumes
        there. ``engine`` and ``folder`` choose ``method="tiled"``.
    progress: called with a :class:`Progress` now and then.

    Returns
    -------
    An :class:`Eigenvalue`. An indefinite, singular or extremely ill-conditioned matrix gives a status
    and no exception.

    Raises TypeError if K is no matrix, ValueError if it is not square, symmetric and finite,
    NotEnoughMemoryError if no method fits, OSError for a damaged tile, a full disk or a lost cluster.
    """
    begin = time.perf_counter()
    source = as_source(K)
    require_scale(source)
    place = Place(engine, folder)
    steps = plan_for(source, certify, in_place, method, memory, place)
    if source.matrix is not None and source.error == 0 and _is_zero(source.matrix):
        return _of_zero(source, time.perf_counter() - begin)
    exact_zero = source.semidefinite and source.max_rank is not None and source.n > source.max_rank
    ends = _run(source, steps, place, certify and not exact_zero, tolerance, progress)
    seconds = time.perf_counter() - begin
    found = as_eigenvalue(source, ends, 0, certify, seconds)
    if not exact_zero:
        return found
    return replace(
        found, value=0.0, lower=0.0, upper=0.0, status=Status.RANK_DEFICIENT, certificate="",
        method=f"rank: {source.max_rank} parameters, {source.n} rows; vector by {ends.method}",
    )  # fmt: skip


def _run(
    source: Source,
    steps: Plan,
    place: Place,
    certify: bool,
    tolerance: float,
    progress: Callback | None,
) -> Ends:
    if steps.method is Method.TILED:
        return lowest_by_tiles(
            source, place.workers, place.folder, certify=certify, callback=progress
        )
    if steps.method.by_products:
        return lowest_by_products(
            source, 1, single=steps.method is Method.FLOAT32, tolerance=tolerance, callback=progress
        )
    source, panels, restore = workspace(source, steps)
    try:
        solver = dense.Engine(source, panels, progress, afterwards=source.device.type != "cpu")
        stored = steps.method in (Method.DENSE, Method.IN_PLACE)
        packed = steps.method is Method.PACKED and source.n <= _SINGLE
        ends = solver.quick(1) if certify and (stored or packed) else None
        return ends if ends is not None else solver.enclose(solver.pairs(1), 1, certify=certify)
    finally:
        if restore is not None:
            restore.restore()


def workspace(source: Source, steps: Plan) -> tuple[Source, Panels, LentSource | None]:
    """The source of K, the memory for its factor, and the function that restores K at the end."""
    if steps.method is Method.IN_PLACE:
        lent = LentSource(source)
        return lent, lent.panels(), lent
    if steps.method is Method.DISK:
        return source, Panels.on_disk(source.n), None
    if steps.method is Method.DENSE:
        source = source.formed()
    return source, Panels.empty(source.n, device=source.device), None


def require_scale(source: Source) -> None:
    """Raise ValueError if products of the entries overflow or underflow in float64."""
    if source.operator:
        return
    largest = float(source.diagonal().abs().max())
    if largest > 1e100 or 0 < largest < 1e-100:
        raise ValueError(
            f"the diagonal of K reaches {largest:.3g}, where products overflow or underflow; "
            "multiply K by a power of two that brings it near 1, and divide the result by it"
        )


def _is_zero(matrix: Tensor) -> bool:
    return not bool(matrix.diagonal().any()) and not bool(matrix.any())


def _of_zero(source: Source, seconds: float) -> Eigenvalue:
    vector = torch.zeros(source.n, dtype=torch.float64, device=source.device)
    vector[0] = 1.0
    return Eigenvalue(
        value=0.0, lower=0.0, upper=0.0, status=Status.BELOW_NOISE, method="every entry is zero",
        covers=source.covers, seconds=seconds, vector=vector, residual=0.0,
        multiplicity=source.n, norm=0.0,
    )  # fmt: skip


def as_eigenvalue(
    source: Source, ends: Ends, index: int, certify: bool, seconds: float
) -> Eigenvalue:
    """Eigenvalue ``index`` of ``ends`` with its status."""
    value, lower, upper = ends.values[index], ends.lower[index], ends.upper[index]
    vector = ends.vectors[:, index].clone()
    noise = source.noise(vector)
    notes = [source.note] if source.note else []
    status = _status(ends, index, noise, certify)
    if status is Status.BELOW_NOISE and upper - lower < 2 * noise:
        notes.append(f"the stored numbers' own rounding may have moved it by {noise:.2g}")
    if ends.estimates is not None:
        relative = ends.estimates[index] / max(abs(value), 1e-300)
        notes.append(f"estimated relative error {relative:.1g}")
    return Eigenvalue(
        value=value, lower=lower, upper=upper, status=status,
        method=f"{ends.method}; {ends.bound.words}",
        covers=source.covers, seconds=seconds, vector=vector, residual=ends.residuals[index],
        matvecs=ends.solves, multiplicity=ends.multiplicity if index == 0 else 1,
        note="; ".join(notes), certificate=ends.bound.letter,
        norm=ends.norm,
    )  # fmt: skip


def _status(ends: Ends, index: int, noise: float, certify: bool) -> Status:
    value, lower, upper = ends.values[index], ends.lower[index], ends.upper[index]
    if upper < 0:
        return Status.INDEFINITE if -upper > noise else Status.BELOW_NOISE
    if lower > 0 and value > noise and ends.estimates is None:
        return Status.OK
    if not ends.converged:
        return Status.NOT_CONVERGED
    if (not certify or ends.estimates is not None) and value > max(
        noise, ends.norm * len(ends.vectors) * 2.0**-53
    ):
        return Status.ESTIMATE
    return Status.BELOW_NOISE


def status_of(value: float, bar: float, n: int, parameters: int | None) -> Status:
    """The status of an eigenvalue known to ± ``bar`` of a kernel of rank ≤ ``parameters``."""
    if parameters is not None and n > parameters:
        return Status.RANK_DEFICIENT
    if value + bar < 0:
        return Status.INDEFINITE
    return Status.OK if value - bar > 0 else Status.BELOW_NOISE
