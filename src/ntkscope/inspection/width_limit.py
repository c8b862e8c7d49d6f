"""How far a finite network's kernel is from its wide limit, and how fast the two meet."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.inspection.convergence import (
    SCALES,
    Convergence,
    finite_kernel,
    spectral_norm,
    width_convergence,
)
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel, limiting_ntk
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.smallest import smallest_eigenvalue

LAYER_SAMPLES = 16  # rows on which the terms of a module are compared one by one


@dataclass(frozen=True)
class TermDistance:
    """One parameter's summand K_t of the kernel beside its limit K̄_t, on ``n_samples`` samples.

    relative: ‖K_t − K̄_t‖₂/‖K̄_t‖₂. trace, limiting_trace: tr K_t and tr K̄_t.
    """

    name: str
    relative: float
    trace: float
    limiting_trace: float
    n_samples: int


@dataclass(frozen=True)
class WidthLimit:
    """The limiting kernel beside a finite one.

    Attributes
    ----------
    limiting: λ_min(K̄) as an interval, in the units of the finite kernel.
    distance: ‖K̄ − K‖₂; by Weyl |λ_min(K̄) − λ_min(K)| is at most that.
    relative: ‖K̄ − K‖₂/‖K̄‖₂.
    convergence: the distance over widths, None where they cannot vary (``note`` says why).
    terms: for a module, the same comparison parameter by parameter, on its first samples.
    """

    limiting: Eigenvalue
    distance: float
    relative: float
    convergence: Convergence | None
    note: str = ""
    terms: tuple[TermDistance, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"limiting λ_min: {self.limiting}",
            f"‖K̄ − K‖₂ = {self.distance:.6g} ({100 * self.relative:.3g}% of ‖K̄‖₂)",
        ]
        lines += [str(self.convergence)] if self.convergence is not None else []
        lines += [self.note] if self.note else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "limiting": self.limiting.to_dict(),
            "distance": self.distance,
            "relative": self.relative,
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
) -> WidthLimit:
    """Compare ``model``'s kernel on X with the limit of the network it was drawn from.

    An :class:`MLP` has its network's limit, and fresh networks of other widths beside it; any other
    module that of its operations, at the mean squares of its weights (:func:`limiting_ntk`).

    Parameters
    ----------
    scales: factors of the hidden widths at which fresh networks are sampled for the convergence.
    draws: networks sampled at each of them, with seeds that follow from ``seed``.
    max_samples: rows of X used for the convergence (the first ones); the distance uses all.
    reduce: for several outputs, ``"trace"`` or an output's index, as in :func:`empirical_ntk`.

    Raises ValueError where the network has no wide limit or its β_l are unknown (given weights),
    NotEnoughMemoryError when three N×N matrices do not fit.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if not isinstance(model, MLP):
        return _of_module(model, X, reduce)
    data = as_data(X, "X").to(dtype=model.dtype, device=model.device)
    N = len(data)
    memory.require(
        3.1 * 8 * N * N, f"the distance of two N = {N} kernels",
        "use fewer samples",
    )  # fmt: skip
    limit = limiting_ntk(model.network, data, reduce=reduce)
    finite = finite_kernel(model, data, reduce).to(torch.float64)
    size = spectral_norm(limit)
    distance = spectral_norm(finite.sub_(limit))
    convergence, note = None, ""
    if model.network.residual:
        note = "no convergence over widths: a residual network's widths are tied to its inputs"
    else:
        convergence = width_convergence(
            model.network, data[:max_samples], scales=scales, draws=draws, seed=seed, reduce=reduce
        )
    return WidthLimit(_smallest(model.network, limit), distance, distance / size, convergence, note)


def _of_module(model: nn.Module, X: Any, reduce: Any) -> WidthLimit:
    kernel = limiting_kernel(model, X, reduce=reduce)
    N = len(kernel)
    memory.require(
        3.1 * 8 * N * N, f"the distance of two N = {N} kernels",
        "use fewer samples",
    )  # fmt: skip
    limit = kernel.dense()
    finite = empirical_ntk(model, X, reduce=reduce).dense().to(torch.float64).cpu()
    size = spectral_norm(limit)
    distance = spectral_norm(finite.sub_(limit))
    held = MatrixKernel(
        limit, entry_error=kernel.entry_error(), covers=kernel.covers, semidefinite=True
    )
    note = (
        "no convergence over widths: how a module is widened, it does not say; "
        "convergence over widths takes a function from a width to a module"
    )
    terms = tuple(_by_terms(model, torch.as_tensor(X)[:LAYER_SAMPLES], reduce))
    return WidthLimit(smallest_eigenvalue(held), distance, distance / size, None, note, terms)


def _by_terms(model: nn.Module, X: Tensor, reduce: Any) -> Iterator[TermDistance]:
    """Each parameter's summand beside the limit in which it alone is learned."""
    alone = copy.deepcopy(model)
    parameters = dict(alone.named_parameters())
    for term in empirical_ntk(model, X, reduce=reduce).terms:
        if term.name not in parameters:
            continue  # no one parameter's
        for name, parameter in parameters.items():
            parameter.requires_grad_(name == term.name)
        limit = limiting_ntk(alone, X, reduce=reduce)
        finite = term.dense().to(limit)
        traces = float(finite.trace()), float(limit.trace())
        size = spectral_norm(limit)
        relative = spectral_norm(finite.sub_(limit)) / size if size else math.nan
        yield TermDistance(term.name, relative, *traces, len(X))


def _smallest(net: Network, limit: Tensor) -> Eigenvalue:
    """λ_min(K̄), its interval widened by what the entries themselves may be wrong.

    Entries hold to (d + 10L)u, and 1e-13 where no closed chain exists, relative to √(K_ii K_jj); so
    ‖ΔK̄‖₂ is at most that times the trace.
    """
    found = smallest_eigenvalue(limit)
    relative = (net.dim + 10 * net.depth) * torch.finfo(torch.float64).eps / 2
    if net.activation.homogeneity != 1:
        relative += 1e-13
    bar = relative * float(limit.diagonal().sum())
    lower, upper = found.lower - bar, found.upper + bar
    status = found.status
    if lower <= 0 and status is Status.OK:
        status = Status.BELOW_NOISE
    return replace(
        found, lower=lower, upper=upper, status=status,
        covers="the limiting kernel, its entries' own error included",
    )  # fmt: skip
