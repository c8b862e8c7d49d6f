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


def require_fitting(K: Kernel) -> None:
    """Raises NotEnoughMemoryError where the dense kernel and its factorisation do not fit."""
    memory.require(
        2.2 * K.nbytes_dense, f"the spectrum of an N = {len(K)} kernel",
        "pass fewer samples, or a float32 model",
    )  # fmt: skip


def whole_spectrum(
    K: Kernel, double: Kernel, smallest: Eigenvalue
) -> tuple[Tensor | None, Eigenvalue, Tensor]:
    """All eigenvalues up to 6000 samples, λ_max, and the eigenvector of λ_min.

    ``double``: K for products, in float64 where it is not a matrix.
    """
    largest, vector = largest_eigenvalue(K), smallest.vector
    if len(K) > _ALL_EIGENVALUES:
        if vector is None:
            raise ValueError(f"no eigenvector from {smallest.method}, which N = {len(K)} needs")
        return None, largest, vector
    matrix = double.dense().to(torch.float64)
    if vector is None:
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        return eigenvalues.cpu(), largest, vectors[:, 0].clone()
    return torch.linalg.eigvalsh(matrix).cpu(), largest, vector


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


def descent(seen: Examined, double: Kernel, smallest: Eigenvalue, largest: Eigenvalue) -> Descent:
    """The same as the inspected kernel's for one output; otherwise that of ``reduce="full"``.

    The outputs of a model share parameters, so neither end follows from the trace kernel's. Of a small
    kernel both ends are computed, of one that can be formed λ_max alone; otherwise λ_max by at most 64
    products and bounded above by the trace and by C times that of the trace kernel, as G = Σ_c J_cᵀJ_c
    for the outputs c. ``double``: as in :func:`whole_spectrum`.
    """
    N, C = len(double), seen.n_outputs
    trace = up(double.trace() + trace_error(double))
    mean = up(trace / (N * C))
    if C == 1:
        return Descent(smallest, largest, N, mean)
    if isinstance(seen.model, Network):  # C equal kernels beside one another
        return Descent(_divided(smallest, C), _divided(largest, C), N * C, mean)
    pairs = seen.pairs
    if pairs.small:
        ends = extreme_eigenvalues(pairs.kernel)
        return Descent(ends.smallest[0], ends.largest[0], N * C, mean)
    high = (
        largest_eigenvalue(pairs.kernel)
        if pairs.formed
        else largest_of_trace(pairs.kernel, trace, up(C * largest.upper))
    )
    return Descent(None, high, N * C, mean)


def _divided(end: Eigenvalue, count: int) -> Eigenvalue:
    return replace(
        end, value=end.value / count, lower=down_to(end.lower / count),
        upper=up_to(end.upper / count),
    )  # fmt: skip
