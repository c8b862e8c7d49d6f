"""Eigenvalues as columns of a table: the value, the ends of its interval, its status."""

from __future__ import annotations

import torch

from ntkscope.experiments.measures.measure import Result
from ntkscope.spectra.eigenvalue import Eigenvalue, Status


def eigenvalue(name: str, found: Eigenvalue) -> Result:
    """An eigenvalue with the interval that its solver gives it."""
    return _columns(name, found.value, found.lower, found.upper, found.status)


def exact_zero(name: str) -> Result:
    """More samples than parameters: JJᵀ has rank below N, and λ_min is zero without computing."""
    return _columns(name, 0.0, 0.0, 0.0, Status.RANK_DEFICIENT)


def enclosed(name: str, value: float, bar: float) -> Result:
    """An eigenvalue known to ± ``bar`` of a kernel of full rank."""
    if value + bar < 0:
        status = Status.INDEFINITE
    else:
        status = Status.OK if value - bar > 0 else Status.BELOW_NOISE
    return _columns(name, value, value - bar, value + bar, status)


def backward_error(n: int, largest: float, dtype: torch.dtype) -> float:
    """N·u·λ_max: how far LAPACK's symmetric eigenvalues may be off."""
    return n * (torch.finfo(dtype).eps / 2) * abs(largest)


def _columns(name: str, value: float, lower: float, upper: float, status: Status) -> Result:
    return {
        name: value,
        f"{name}.lower": lower,
        f"{name}.upper": upper,
        f"{name}.status": status.name,
    }
