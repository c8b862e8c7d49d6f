"""The spectrum of the kernel inspected, and of the kernel that gradient descent sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from ntkscope._base import memory
from ntkscope.inspection.examined import Examined
from ntkscope.kernels.kernel import Kernel
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.extremes import extreme_eigenvalues

_ALL_EIGENVALUES = 6000  # above it all of them would take minutes on two cores
_ALL_PAIRS = 1000  # rows of the kernel of all pairs of outputs whose λ_min is computed


def require_fitting(K: Kernel) -> None:
    """Raises NotEnoughMemoryError where the dense kernel and its factorisation do not fit."""
    memory.require(
        2.2 * K.nbytes_dense, f"the spectrum of an N = {len(K)} kernel",
        "pass fewer samples, or a float32 model",
    )  # fmt: skip


def whole_spectrum(K: Kernel, smallest: Eigenvalue) -> tuple[Tensor | None, float, Tensor]:
    """All eigenvalues up to 6000 samples, λ_max, and the eigenvector of λ_min."""
    matrix = K.dense()
    vector = smallest.vector
    if len(K) > _ALL_EIGENVALUES:
        if vector is None:
            raise ValueError(f"no eigenvector from {smallest.method}, which N = {len(K)} needs")
        return None, _power_iteration(matrix), vector
    if vector is None:
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        return eigenvalues.cpu(), float(eigenvalues[-1]), vectors[:, 0].clone()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    return eigenvalues.cpu(), float(eigenvalues[-1]), vector


def _power_iteration(matrix: Tensor, steps: int = 300) -> float:
    """λ_max of a PSD matrix from below, to 1e-10 or ``steps`` products."""
    v = matrix.sum(dim=1)
    value = 0.0
    for _ in range(steps):
        v = v / torch.linalg.vector_norm(v)
        w = matrix @ v
        value, last = float(v @ w), value
        if abs(value - last) <= 1e-10 * value:
            break
        v = w
    return value


@dataclass(frozen=True)
class Descent:
    """The ends of the kernel of all pairs of outputs, which moves F(X) under gradient descent.

    rows: N·C, the numbers that the loss adds up. ``smallest`` is None where it was not computed.
    """

    smallest: Eigenvalue | None
    largest: float
    rows: int


def descent(seen: Examined, smallest: Eigenvalue, largest: float) -> Descent:
    """The same as the inspected kernel's for one output; otherwise that of ``reduce="full"``.

    The outputs of a model share parameters, so neither end follows from the trace kernel's. λ_min
    is computed up to 1000 rows. Above, λ_max comes by some ten products, until the residual is 1e-3 of
    it: its error is of the order of the residual's square.
    """
    N, C = len(seen.kernel), seen.n_outputs
    if C == 1:
        return Descent(smallest, largest, N)
    if isinstance(seen.model, Network):  # C equal kernels beside one another
        one = {end: getattr(smallest, end) / C for end in ("value", "lower", "upper")}
        return Descent(replace(smallest, **one), largest / C, N * C)
    assert seen.prepared is not None
    if N * C <= _ALL_PAIRS:
        ends = extreme_eigenvalues(seen.prepared.beside("full"))
        return Descent(ends.smallest[0], ends.largest[0].value, N * C)
    operator = seen.prepared.products("full").to_scipy()
    start = np.ones(N * C, dtype=operator.dtype)
    value = eigsh(operator, k=1, which="LA", v0=start, ncv=8, tol=1e-3)[0][0]
    return Descent(None, float(value), N * C)
