"""The spectrum of the kernel inspected, and of the kernel that gradient descent sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.inspection.examined import Examined
from ntkscope.inspection.shares import trace_error
from ntkscope.kernels.kernel import Kernel
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.extremes import (
    extreme_eigenvalues,
    largest_eigenvalue,
    largest_of_trace,
)
from ntkscope.spectra.rounding import down_to, up, up_to

_ALL_EIGENVALUES = 6000  # above it all of them would take minutes on two cores
_ALL_PAIRS = 1000  # rows of the kernel of all pairs of outputs whose λ_min is computed


def require_fitting(K: Kernel) -> None:
    """Raises NotEnoughMemoryError where the dense kernel and its factorisation do not fit."""
    memory.require(
        2.2 * K.nbytes_dense, f"the spectrum of an N = {len(K)} kernel",
        "pass fewer samples, or a float32 model",
    )  # fmt: skip


def whole_spectrum(K: Kernel, smallest: Eigenvalue) -> tuple[Tensor | None, Eigenvalue, Tensor]:
    """All eigenvalues up to 6000 samples, λ_max, and the eigenvector of λ_min."""
    largest, vector = largest_eigenvalue(K), smallest.vector
    if len(K) > _ALL_EIGENVALUES:
        if vector is None:
            raise ValueError(f"no eigenvector from {smallest.method}, which N = {len(K)} needs")
        return None, largest, vector
    if vector is None:
        eigenvalues, vectors = torch.linalg.eigh(K.dense())
        return eigenvalues.cpu(), largest, vectors[:, 0].clone()
    return torch.linalg.eigvalsh(K.dense()).cpu(), largest, vector


@dataclass(frozen=True)
class Descent:
    """The ends of the kernel of all pairs of outputs, which moves F(X) under gradient descent.

    rows: N·C, the numbers that the loss adds up. ``smallest`` is None where it was not computed;
    it is at most ``mean``, an upper bound on the trace over the rows.
    """

    smallest: Eigenvalue | None
    largest: Eigenvalue
    rows: int
    mean: float


def descent(seen: Examined, smallest: Eigenvalue, largest: Eigenvalue) -> Descent:
    """The same as the inspected kernel's for one output; otherwise that of ``reduce="full"``.

    The outputs of a model share parameters, so neither end follows from the trace kernel's. λ_min
    is computed up to 1000 rows; λ_max then comes by at most 64 products, bounded above by the trace.
    """
    N, C = len(seen.kernel), seen.n_outputs
    trace = up(seen.kernel.trace() + trace_error(seen.kernel))
    mean = up(trace / (N * C))
    if C == 1:
        return Descent(smallest, largest, N, mean)
    if isinstance(seen.model, Network):  # C equal kernels beside one another
        return Descent(_divided(smallest, C), _divided(largest, C), N * C, mean)
    assert seen.prepared is not None
    if N * C <= _ALL_PAIRS:
        ends = extreme_eigenvalues(seen.prepared.beside("full"))
        return Descent(ends.smallest[0], ends.largest[0], N * C, mean)
    pairs = seen.prepared.products("full")  # its trace is the trace kernel's
    return Descent(None, largest_of_trace(pairs, trace), N * C, mean)


def _divided(end: Eigenvalue, count: int) -> Eigenvalue:
    return replace(
        end, value=end.value / count, lower=down_to(end.lower / count),
        upper=up_to(end.upper / count),
    )  # fmt: skip
