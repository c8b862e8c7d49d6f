"""λ_min of a kernel matrix, as an interval."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from ntkscope import _memory
from ntkscope._checks import as_data
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.spectra.eigenvalue import Eigenvalue, Status

Matrix = HadamardKernel | Tensor


def smallest_eigenvalue(K: Matrix | Any) -> Eigenvalue:
    """λ_min of a symmetric kernel, from all eigenvalues of the dense matrix (LAPACK).

    The interval is the backward error N·u·λ_max of the eigensolver, and for a
    :class:`HadamardKernel` the error of forming it from its factors besides.

    Raises ValueError for a matrix that is not square, symmetric and finite.
    """
    start = time.perf_counter()
    matrix, forming, parameters = _dense(K)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    value, largest = float(eigenvalues[0]), float(eigenvalues[-1].abs())
    bar = forming + len(matrix) * (torch.finfo(matrix.dtype).eps / 2) * largest
    return Eigenvalue(
        value=value,
        lower=value - bar,
        upper=value + bar,
        status=status_of(value, bar, len(matrix), parameters),
        method="eigvalsh, backward error N·u·λ_max",
        covers="the kernel of the stored factors" if forming else "the stored matrix",
        seconds=time.perf_counter() - start,
    )


def status_of(value: float, bar: float, n: int, parameters: int | None) -> Status:
    """The status of an eigenvalue known to ± ``bar`` of a kernel of rank ≤ ``parameters``."""
    if parameters is not None and n > parameters:
        return Status.RANK_DEFICIENT
    if value + bar < 0:
        return Status.INDEFINITE
    return Status.OK if value - bar > 0 else Status.BELOW_NOISE


def _dense(K: Matrix | Any) -> tuple[Tensor, float, int | None]:
    if isinstance(K, HadamardKernel):
        error = K.forming_error()  # raises for a cross kernel, before anything is formed
        _memory.require(
            2.1 * K.nbytes_dense, f"the spectrum of an N = {len(K)} kernel", "use fewer samples"
        )
        return K.dense(), error, K.n_parameters
    matrix = as_data(K, "K")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"K must be square, got shape {tuple(matrix.shape)}")
    asymmetry = float((matrix - matrix.T).abs().max())
    scale = float(matrix.abs().max())
    if asymmetry > 100 * torch.finfo(matrix.dtype).eps * scale:
        raise ValueError(
            f"K is not symmetric: entries differ from their mirror by up to {asymmetry:.3g} "
            f"(largest entry {scale:.3g}); pass (K + K.T) / 2 if that is what you mean"
        )
    return matrix, 0.0, None
