"""λ_min of matrices at any scale, with the error of forming them."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.quantity import Quantity, U


def least_eigenvalue(K: HadamardKernel | Tensor) -> Eigenvalue:
    """λ_min at any scale: deep narrow networks have kernels of 1e-137, Hadamard powers of 1e120.

    Outside 1e±100 the matrix is multiplied by a power of two, which is exact, and the result divided.
    """
    top = float(K.diagonal().abs().max())
    if top == 0 or 1e-100 < top < 1e100:
        return smallest_eigenvalue(K)
    power = 2.0 ** max(-1000, min(1000, -round(math.log2(top))))
    matrix = K.dense() if isinstance(K, HadamardKernel) else K
    forming = K.forming_error() if isinstance(K, HadamardKernel) else 0.0
    found = smallest_eigenvalue(matrix * power)
    return replace(
        found,
        value=found.value / power,
        lower=found.lower / power - forming,
        upper=found.upper / power + forming,
        note=f"computed after multiplying by {power:g}",
    )


def gram_eigenvalue(rows: Tensor, name: str = "F") -> Eigenvalue:
    """λ_min(F Fᵀ) with the error of forming it."""
    kernel = HadamardKernel([Term(name, Factor.symmetric(rows), None)], n_parameters=rows.shape[1])
    return least_eigenvalue(kernel)


def power_eigenvalue(gram: Tensor, r: int, inner: int) -> Quantity:
    """λ_min of the r-th Hadamard power of a Gram matrix whose inner products have ``inner`` terms.

    Entries G_ij are wrong by at most γ √(G_ii G_jj); so their r-th powers by r(γ + u) times the
    r-th power of that, and in the 2-norm by the trace of it.
    """
    power = gram**r
    forming = r * (inner + 2) * U * float(power.diagonal().sum())
    found = least_eigenvalue(power)
    return Quantity(found.value, found.error + forming)
