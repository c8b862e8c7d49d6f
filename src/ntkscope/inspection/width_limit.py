"""How far a finite network's kernel is from its wide limit, and how fast the two meet."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope._base.specs import unknown
from ntkscope.inspection.convergence import (
    SCALES,
    Convergence,
    spectral_norm,
    width_convergence,
)
from ntkscope.inspection.one_input import OneInput, one_input
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.prepared import Reduce
from ntkscope.networks.mlp import MLP
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import with_error
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.rounding import U
from ntkscope.spectra.smallest import smallest_eigenvalue

LAYER_SAMPLES = 16  # rows on which the terms of a module are compared one by one


@dataclass(frozen=True)
class TermDistance:
    """One parameter's summand K_t of the kernel beside its limit K̄_t, on ``n_samples`` samples.

    relative: ‖K_t − K̄_t‖₂/‖K̄_t‖₂, and a bound on its error. trace, limiting_trace: tr K_t and tr K̄_t.
    """

    name: str
    relative: float
    relative_error: float
    trace: float
    limiting_trace: float
    n_samples: int


@dataclass(frozen=True)
class WidthLimit(Drawn, Tabular, Shown):
    """The limiting kernel beside a finite one.

    Attributes
    ----------
    limiting: λ_min(K̄) as an interval, in the units of the finite kernel.
    distance: ‖K̄ − K‖₂, known to ``distance_error``: truncation of the limit, rounding of both kernels and
        of the norm. By Weyl |λ_min(K̄) − λ_min(K)| is at most their sum.
    relative: ‖K̄ − K‖₂/‖K̄‖₂, known to ``relative_error``.
    convergence: the distance over widths, None where they cannot vary (``note`` says why).
    terms: for a module, the same comparison parameter by parameter, on its first samples.
    distance_error, relative_error: bounds on the errors of the two distances.
    note: why the widths cannot vary, where they cannot.
    """

    limiting: Eigenvalue
    distance: float
    distance_error: float
    relative: float
    relative_error: float
    convergence: Convergence | None
    note: str = ""
    terms: tuple[TermDistance, ...] = ()

    def _rows(self) -> tuple[TermDistance, ...] | list[dict[str, Any]]:
        return self.terms if self.convergence is None else self.convergence._rows()

    def _chart(self) -> Chart:
        """The distance over widths, or term by term."""
        if self.convergence is not None:
            return self.convergence._chart()
        names = [t.name for t in self.terms]
        return charts.bars("", names, {"‖K_t − K̄_t‖/‖K̄_t‖": [t.relative for t in self.terms]})

    def __str__(self) -> str:
        lines = [
            f"limiting λ_min: {self.limiting}",
            f"‖K̄ − K‖₂ = {with_error(self.distance, self.distance_error)} "
            f"({100 * self.relative:.3g}% of ‖K̄‖₂)",
        ]
        lines += [str(self.convergence)] if self.convergence is not None else []
        lines += [self.note] if self.note else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "limiting": self.limiting.to_dict(),
            "distance": self.distance,
            "distance_error": self.distance_error,
            "relative": self.relative,
            "relative_error": self.relative_error,
            "convergence": None if self.convergence is None else self.convergence.to_dict(),
            "note": self.note,
            "terms": [asdict(t) for t in self.terms],
        }


def width_limit(
    model: nn.Module,
    X: Any,
    *,
    scales: Sequence[float] = SCALES,
    draws: int = 4,
    seed: int = 0,
    max_samples: int = 256,
    reduce: str | int = "trace",
    output: Output = None,
) -> WidthLimit:
    """Compare ``model``'s kernel on X with the limit of the network it was drawn from.

    An :class:`MLP` has its network's limit, and fresh networks of other widths beside it; any other
    module that of its operations, at the mean squares of its weights (:func:`limiting_ntk`).

    Parameters
    ----------
    scales: factors of the hidden widths at which fresh networks are sampled for the convergence.
    draws: networks sampled at each of them, with seeds that follow from ``seed``.
    max_samples: rows of X used for the convergence (the first ones); the distance uses all.
    X: (N, d), or what the module takes: an array, or a dict (a dataset of dicts) with one real array by its
        keyword, such as ``pixel_values``.
    reduce: for several outputs, ``"trace"`` or an output's index, as in :func:`empirical_ntk`.
    output: which part of a module's outputs, as in :func:`empirical_ntk`.
    model: the network or module that was drawn.
    seed: of the draws.

    Returns
    -------
    WidthLimit: the distance to the limit, with its error.

    Raises ValueError where the network has no wide limit or its β_l are unknown (given weights),
    NotEnoughMemoryError when three N×N matrices do not fit.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if isinstance(reduce, str) and reduce != "trace":
        raise ValueError(unknown("reduce", reduce, ("trace",)) + ", or an output's index")
    if not isinstance(model, MLP):
        return _of_module(*one_input(model, X, output), reduce)
    data = as_data(X, "X").to(dtype=model.dtype, device=model.device)
    _require_memory(len(data))
    near = _compared(
        empirical_ntk(model, data, reduce=_which(reduce)),
        limiting_kernel(model.network, data, reduce=reduce),
    )
    convergence, note = None, ""
    if model.network.residual:
        note = "no convergence over widths: a residual network's widths are tied to its inputs"
    else:
        convergence = width_convergence(
            model.network, data[:max_samples], scales=scales, draws=draws, seed=seed, reduce=reduce
        )
    return near.beside(convergence, note)


def _which(reduce: str | int) -> Reduce:
    return "trace" if isinstance(reduce, str) else reduce


def _require_memory(N: int) -> None:
    memory.require(3.1 * 8 * N * N, f"the distance of two N = {N} kernels", "use fewer samples")


def _of_module(model: nn.Module, X: Any, reduce: str | int) -> WidthLimit:
    limit = limiting_kernel(model, X, reduce=reduce)
    _require_memory(len(limit))
    near = _compared(empirical_ntk(model, X, reduce=_which(reduce)), limit)
    note = (
        "no convergence over widths: how a module is widened, it does not say; "
        "convergence over widths takes a function from a width to a module"
    )
    terms = tuple(_by_terms(model, torch.as_tensor(X)[:LAYER_SAMPLES], reduce))
    return near.beside(None, note, terms)


@dataclass(frozen=True, eq=False)
class _Compared:
    """A kernel beside its limit, which ``held`` keeps as a matrix with its error."""

    held: MatrixKernel
    distance: float
    distance_error: float
    relative: float
    relative_error: float
    trace: float

    def beside(
        self, convergence: Convergence | None, note: str, terms: tuple[TermDistance, ...] = ()
    ) -> WidthLimit:
        return WidthLimit(
            smallest_eigenvalue(self.held), self.distance, self.distance_error, self.relative,
            self.relative_error, convergence, note, terms,
        )  # fmt: skip


def _compared(finite: Kernel, limit: Kernel) -> _Compared:
    """‖K̄ − K‖₂ from the eigenvalues of the difference; the kernels' own errors bound what it may hide."""
    N = len(limit)
    held = MatrixKernel(
        limit.dense().cpu(), entry_error=limit.entry_error(), covers=limit.covers, semidefinite=True
    )
    size = spectral_norm(held.matrix)
    size_error = held.forming_error() + N * U * size
    matrix = finite.dense().to("cpu", torch.float64)
    trace = float(matrix.trace())
    distance = spectral_norm(matrix.sub_(held.matrix))
    # the difference is rounded once, and its eigenvalues to N u ‖·‖
    error = finite.forming_error() + held.forming_error() + (N + N**0.5 + 2) * U * distance
    relative = distance / size if size else math.nan
    least = size - size_error
    relative_error = (error + relative * size_error) / least if least > 0 else math.inf
    return _Compared(held, distance, error, relative, relative_error, trace)


def _by_terms(model: nn.Module, X: Tensor, reduce: str | int) -> Iterator[TermDistance]:
    """Each parameter's summand beside the limit in which it alone is learned."""
    alone = copy.deepcopy(model)
    parameters = dict(alone.named_parameters())
    for term in empirical_ntk(model, X, reduce=_which(reduce)).terms:
        if term.name not in parameters:
            continue  # no one parameter's
        for name, parameter in parameters.items():
            parameter.requires_grad_(name == term.name)
        near = _compared(term, limiting_kernel(alone, X, reduce=reduce))
        yield TermDistance(
            OneInput.own_name(model, term.name), near.relative, near.relative_error, near.trace,
            near.held.trace(), len(X),
        )  # fmt: skip
