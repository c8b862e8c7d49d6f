"""The choice of a method for λ_min from N, the memory and the kernel's factors; printed before it runs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ntkscope._base.memory import NotEnoughMemoryError, available, human
from ntkscope._base.specs import unknown
from ntkscope.engines.engine import Engine
from ntkscope.report.result import Result
from ntkscope.spectra.storage.panels import Panels, panel_width
from ntkscope.spectra.storage.source import Source, as_source
from ntkscope.spectra.tiled.cost import tiled_cost
from ntkscope.spectra.tiled.place import Place


class Method(StrEnum):
    """A method for λ_min."""

    DENSE = "dense"
    IN_PLACE = "in place"
    PACKED = "packed"
    FLOAT32 = "float32"
    DISK = "disk"
    TILED = "tiled"
    PRODUCTS = "products"

    @property
    def by_products(self) -> bool:
        """Whether it iterates with products and gives no certificate."""
        return self in (Method.FLOAT32, Method.PRODUCTS)


_WHAT = {
    Method.DENSE: "K in memory, its Cholesky factor beside it",
    Method.IN_PLACE: "the factor overwrites the lower triangle of K, which is restored at the end",
    Method.PACKED: "only the factor's triangle in memory, K formed again when needed",
    Method.FLOAT32: "a float32 Cholesky factor preconditions float64 products with K",
    Method.DISK: "the factor's triangle in an unnamed temporary file, K formed again when needed",
    Method.TILED: "tiles of the factor in files, made by the engine's workers; a killed run goes on",
    Method.PRODUCTS: "products with K alone",
}
_BASIS = 120  # columns of a Krylov basis, as a rule
_SOLVES = 70
_BLOCK_SOLVES = 40  # of four columns, by tiles
_UNKNOWN_INNER = 500  # flops of an entry of a kernel without factors, about a limiting one's
_BANDWIDTH = 8e9  # bytes a second of a solve, cautious
_DISK_BANDWIDTH = 4e8
_STORED_ENTRY = 2e-8  # seconds behind an entry of a stored kernel: read, checked, put in place


@dataclass(frozen=True)
class _OfSize:
    """A stored kernel of which only N is known."""

    n: int
    matrix: None = None
    operator: bool = False
    repeatable: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Plan(Result):
    """What :func:`smallest_eigenvalue` will do.

    Attributes
    ----------
    method: one of dense, in place, packed, float32, disk, products.
    n: the size of K.
    nbytes: memory beyond K (or the kernel's factors) as given; nbytes_disk: on disk.
    seconds: expected wall time on this machine, within a factor of about two.
    certified: whether the result will be an interval (else an upper bound and an estimate).
    reason: why the methods before it in the list do not apply.
    workers, flops, nbytes_moved: of the tiled method: their number, the flops of the factorisations, and
    the bytes that they read and write.
    """

    method: Method
    n: int
    nbytes: int
    nbytes_disk: int
    seconds: float
    certified: bool
    reason: str = ""
    workers: int = 0
    flops: float = 0.0
    nbytes_moved: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"λ_min of an N = {self.n} matrix: {self.method} ({_WHAT[self.method]})",
            f"  memory   {human(self.nbytes)} beyond what is held"
            + (f", {human(self.nbytes_disk)} on disk" if self.nbytes_disk else ""),
            f"  time     about {_duration(self.seconds)}",
            "  result   "
            + ("certified interval" if self.certified else "upper bound and estimate"),
        ]
        if self.workers:
            lines.append(
                f"  workers  {self.workers}; {self.flops:.2g} operations, {human(self.nbytes_moved)} "
                "read and written"
            )
        return "\n".join([*lines, f"  because  {self.reason}"] if self.reason else lines)


def plan(
    K: Any,
    *,
    certify: bool = True,
    in_place: bool = False,
    method: str = "auto",
    memory: float | None = None,
    engine: Engine | None = None,
    folder: str | Path | None = None,
) -> Plan:
    """The method that :func:`smallest_eigenvalue` chooses for ``K``; takes the same arguments.

    ``K`` may be a number N, for a stored kernel that does not exist yet. ``memory`` is the number of bytes
    allowed, by default nine tenths of the free memory. Each worker of an engine is assumed to be
    as fast as one core of this machine.

    Parameters
    ----------
    K, certify, in_place, method, memory, engine, folder: as in :func:`smallest_eigenvalue`.

    Returns
    -------
    Plan: the method, its memory and its expected time.

    Raises ValueError for an unknown method or one that does not apply, NotEnoughMemoryError if
    the given method does not fit.
    """
    source: Source | _OfSize
    if isinstance(K, int) and not isinstance(K, bool):
        if K < 1:
            raise ValueError(f"N must be at least 1, got {K}")
        source = _OfSize(K)
    else:
        source = as_source(K)
    return plan_for(source, certify, in_place, method, memory, Place(engine, folder))


def plan_for(
    source: Source | _OfSize,
    certify: bool,
    in_place: bool,
    method: str,
    memory: float | None,
    place: Place | None = None,
) -> Plan:
    """The plan; without a ``place`` there are no tiles."""
    known = [m for m in _WHAT if place is not None or m is not Method.TILED]
    if method not in ("auto", *known):
        raise ValueError(unknown("method", method, ("auto", *known)))
    place = place or Place()
    if place.asked and (in_place or method not in ("auto", Method.TILED)):
        raise ValueError(
            "engine and folder are of the tiled way: leave out in_place, and method unless it is "
            f"'tiled', got {'in_place' if in_place else repr(method)}"
        )
    method = Method.TILED if place.asked else method
    budget = 0.9 * available(source.device) if memory is None else float(memory)
    applicable = _applicable(source)
    if in_place or method != "auto":
        wanted = Method.IN_PLACE if method == "auto" else Method(method)
        if wanted not in applicable:
            raise ValueError(
                f"method {wanted.value!r} does not apply to this input; "
                f"it can be done by {', '.join(applicable)}"
            )
        made = _made(source, wanted, certify, "asked for", place)
        if not isinstance(source, _OfSize):
            _require(made, budget, place)
        return made
    reason = ""
    for name in applicable:
        if name in (Method.IN_PLACE, Method.TILED):
            continue  # the one writes into the caller's matrix, the other keeps files: when asked for
        made = _made(source, name, certify, reason, place)
        if made.nbytes <= budget and made.nbytes_disk <= 0.9 * _disk_free(place):
            return made
        need = f"{human(made.nbytes)} of {human(budget)}"
        if made.nbytes_disk:
            need += f" and {human(made.nbytes_disk)} on disk"
        reason = f"{name} needs {need}"
    if not isinstance(source, _OfSize):
        _require(made, budget, place)
    return made


def _require(made: Plan, budget: float, place: Place) -> None:
    if made.nbytes > budget:
        raise NotEnoughMemoryError(
            f"λ_min of an N = {made.n} matrix by {made.method.value!r} needs "
            f"{human(made.nbytes)} beyond what is held, and {human(budget)} may be "
            "taken; " + _remedy(made.method)
        )
    if made.nbytes_disk > _disk_free(place):
        raise NotEnoughMemoryError(
            f"{human(made.nbytes_disk)} are needed in {place.disk}, and "
            f"{human(_disk_free(place))} are free; set TMPDIR to a larger disk, or give a folder on one"
        )


def _remedy(method: Method) -> str:
    if method is Method.DENSE:
        return (
            "pass in_place=True, or the HadamardKernel of ntk.empirical_ntk in place of its dense "
            "matrix (its factors take N·Σ n_l numbers)"
        )
    return "use fewer samples, or method='disk' or 'products'"


def _applicable(source: Source | _OfSize) -> tuple[Method, ...]:
    if source.operator:
        return (Method.PRODUCTS,)
    if source.matrix is not None:
        return (Method.DENSE, Method.IN_PLACE, Method.DISK, Method.TILED, Method.PRODUCTS)
    if not source.repeatable:
        return (Method.DENSE, Method.PRODUCTS)
    return tuple(m for m in Method if m is not Method.IN_PLACE)


def _made(
    source: Source | _OfSize, method: Method, certify: bool, reason: str, place: Place
) -> Plan:
    if method is Method.TILED:
        return _tiled(source, certify, reason, place)
    n = source.n
    inner = _inner(source)
    # a Krylov basis, its product, and row blocks
    working = 8 * n * (_BASIS + 40) + (1 << 26)
    packed = Panels.nbytes(n)
    held, disk = {
        Method.DENSE: (packed + (8 * n * n if source.matrix is None else 0), 0),
        Method.IN_PLACE: (8 * n * panel_width(n), 0),
        Method.PACKED: (packed, 0),
        Method.FLOAT32: (Panels.nbytes(n, 4), 0),
        Method.DISK: (0, packed),
        Method.PRODUCTS: (0, 0),
    }[method]
    return Plan(
        method=method,
        n=n,
        nbytes=held + working,
        nbytes_disk=disk,
        seconds=_seconds(n, inner, method, certify),
        certified=certify and not method.by_products,
        reason=reason,
    )


def _tiled(source: Source | _OfSize, certify: bool, reason: str, place: Place) -> Plan:
    cost = tiled_cost(source.n, place, certify, _BLOCK_SOLVES, _inner(source))
    return Plan(
        method=Method.TILED, n=source.n, nbytes=8 * source.n * (_BASIS + 40) + cost.nbytes,
        nbytes_disk=cost.nbytes_disk, seconds=cost.seconds, certified=certify, reason=reason,
        workers=cost.workers, flops=cost.flops, nbytes_moved=cost.nbytes_moved,
    )  # fmt: skip


def _inner(source: Source | _OfSize) -> int:
    """Multiplications to form one entry, as given by the terms."""
    if isinstance(source, _OfSize):
        return 0
    if source.matrix is not None or source.operator:
        return 0
    return sum(getattr(t, "inner", _UNKNOWN_INNER) for t in source.kernel.terms)


def _seconds(n: int, inner: int, method: Method, certify: bool) -> float:
    rate = _gemm_rate()
    forming = n * n * inner / rate
    if method is Method.PRODUCTS:
        return 200 * n * min(n, 100 * max(inner, 1)) / rate + 200 * 8 * n * n / _BANDWIDTH
    factorings = 2 if certify else 1
    if method is Method.FLOAT32:
        return (n**3 / 3 / 1.5 + 20 * 200 * n * max(inner, 1)) / rate + forming
    cholesky = factorings * n**3 / 3 / rate
    solving = _SOLVES * 8 * n * n / _BANDWIDTH
    if method is Method.DENSE:
        return cholesky + solving + forming
    formed = (factorings + 1) * forming  # the one is of the accurate quotient
    if method is Method.DISK:
        bands = n / panel_width(n) / 3
        moved = 4 * n * n * (factorings * bands + 2 * _SOLVES)
        return cholesky + formed + moved / _DISK_BANDWIDTH
    return cholesky + formed + solving


@cache
def _gemm_rate() -> float:
    """Flops a second of a float64 product of two 768×768 matrices, measured once."""
    a = torch.ones(768, 768, dtype=torch.float64)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return 2 * 768**3 / best


def _disk_free(place: Place) -> int:
    return shutil.disk_usage(place.disk).free


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 10800 else f"{seconds / 3600:.1f} h"
