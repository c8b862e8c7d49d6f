"""Parts of a whole, a trace or λ_min, each with a bound on its error."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.spectra.rounding import U, up


def trace_error(K: Kernel) -> float:
    """A bound on the error of ``K.trace()``: N u of the sum, and Σ|ΔK_ii| ≤ N‖ΔK‖ of its terms,
    or γ tr K where every entry has an error of its own."""
    entries = K.entry_error() * K.trace() if K.entry_error() else len(K) * K.forming_error()
    return up(entries + len(K) * U * K.trace())


def rayleigh(K: Kernel, vector: Tensor) -> tuple[float, float]:
    """vᵀKv of a unit vector of K's dtype and device, and a bound on its error.

    Two products of N terms lose 2(N + 2)u |v|ᵀ|K||v| ≤ 2(N + 2)u tr K, as |K_ij| ≤ √(K_ii K_jj);
    ‖K‖_F stands for the trace where K need not be semidefinite. Forming K, by entries or by the
    factors of a product, loses its forming error.
    """
    value = float(vector @ (K @ vector))
    size = K.trace() if K.semidefinite else float(torch.linalg.matrix_norm(K.dense()))
    unit = torch.finfo(K.dtype).eps / 2
    return value, up(2.0 * K.forming_error() + 2.0 * (len(K) + 2) * unit * size)


def total(parts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The sum of numbers with their errors, and a bound on its own."""
    values, errors = zip(*parts, strict=True)
    rounding = len(values) * U * sum(map(abs, values))
    return sum(values), up(sum(errors) + rounding)


def share(part: float, error: float, whole: float, whole_error: float) -> tuple[float, float]:
    """part/whole and a bound on its error, ∞ where the whole cannot be told from 0."""
    if whole <= whole_error:
        return (part / whole if whole else 0.0), math.inf
    found = part / whole
    return found, up((error + abs(found) * whole_error) / (whole - whole_error) + U * abs(found))
