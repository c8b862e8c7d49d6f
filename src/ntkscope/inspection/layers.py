"""The layers of a kernel and the ladder of bounds around its smallest eigenvalue."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.inspection.shares import rayleigh, share, total, trace_error
from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term
from ntkscope.kernels.kernel import Kernel
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.rounding import down_to, up_to
from ntkscope.spectra.smallest import smallest_eigenvalue

_NOISE = 1  # roundings of the whole gradient: what a gradient that is exactly 0 comes to, as a key's bias in attention
_DOWN = 1.0 - 2.0**-50  # takes back what two products may have rounded up


@dataclass(frozen=True)
class Layer:
    """One term of the kernel: the gradients with respect to one parameter, of ``shape`` if known.

    trace_share: its part of tr K. rayleigh: vᵀK_t v at the computed eigenvector v of λ_min, its part
    of λ_min. smallest, smallest_error, smallest_status: λ_min of the term alone; below noise where all of the
    term is of the size of the squared rounding of gradients. ``*_error`` bounds
    the error of the number before it; a share's is ∞ where the whole cannot be told from 0.
    features_smallest: a rigorous lower bound on λ_min(F Fᵀ), 0 where F has fewer columns than rows.
    signals_min: min_i ‖B_i‖². schur: scale · features_smallest · signals_min ≤ λ_min(K_t).
    """

    name: str
    shape: str
    width_in: int
    width_out: int
    trace: float
    trace_error: float
    trace_share: float
    trace_share_error: float
    rayleigh: float
    rayleigh_error: float
    rayleigh_share: float
    rayleigh_share_error: float
    smallest: float
    smallest_error: float
    smallest_status: str
    features_smallest: float
    signals_min: float
    schur: float


@dataclass(frozen=True)
class Rung:
    """A bound on λ_min, or λ_min itself: value, side ("lower", "value", "upper"), formula, source."""

    name: str
    value: float
    side: str
    formula: str
    source: str


def inspect_layers(
    shapes: Mapping[str, tuple[int | float, ...]],
    K: Kernel,
    double: Kernel,
    vector: Tensor,
    smallest: Eigenvalue,
    progress: Callable[[float], None] = lambda _: None,
    n_outputs: int = 1,
) -> list[Layer]:
    """Each term's share of the trace and of λ_min, its own λ_min and its Schur bound.

    ``shapes``: the parameter behind each term, as far as known. ``double``: K for products, in
    float64 where it is not a matrix. ``smallest``: λ_min of ``K``, whose eigenvector is ``vector``.
    ``n_outputs``: how many outputs a trace kernel sums.
    """
    vector = vector.to(dtype=double.dtype, device=double.device)
    single = len(K.terms) == 1
    exact = [double] if single else list(double.terms)
    parts = [rayleigh(one, vector) for one in exact]
    trace = double.trace(), trace_error(double)
    layers = []
    for index, (term, one) in enumerate(zip(K.terms, exact, strict=True)):
        progress(index / len(exact))
        own = smallest if single else smallest_eigenvalue(_ranked(K, term.name, shapes, n_outputs))
        factors = term if isinstance(term, Term) else None
        features = 0.0 if factors is None else _features_lower(factors, len(K))
        signals = 0.0 if factors is None else _signals_min(factors)
        part = one.trace(), trace_error(one)
        noise = (_NOISE * torch.finfo(K.dtype).eps) ** 2 * trace[0]
        lost = 0 < part[0] <= noise
        layers.append(
            Layer(
                term.name or "K", "×".join(map(str, shapes.get(term.name, ()))),
                _width(None if factors is None else factors.features, 0),
                _width(None if factors is None else factors.signals, 1),
                *part, *share(*part, *trace), *parts[index], *share(*parts[index], *total(parts)),
                own.value, noise if lost else own.error,
                (Status.BELOW_NOISE if lost else own.status).name, features, signals,
                max(0.0, features * signals * (1.0 if factors is None else factors.scale) * _DOWN),
            )
        )  # fmt: skip
    return layers


def _ranked(
    K: Kernel, name: str, shapes: Mapping[str, tuple[int | float, ...]], n_outputs: int
) -> Kernel:
    """One term alone. Its rank is at most its parameter's entries, once for each output summed."""
    term = K.term(name)
    if name not in shapes:
        return term
    size = math.prod(shapes[name]) * n_outputs
    alone = copy.copy(term)  # K's own stays as it is
    object.__setattr__(alone, "n_parameters", None if math.isinf(size) else int(size))
    return alone


def _width(factor: Factor | None, missing: int) -> int:
    return missing if factor is None else factor.width


def _features_lower(term: Term, n: int) -> float:
    """A lower bound on λ_min(F Fᵀ) ≥ 0 that rounding cannot make too large."""
    if term.features is None or term.features.width < n:
        return 0.0
    gram = HadamardKernel([Term(term.name, Factor.symmetric(term.features.rows), None)])
    return max(0.0, smallest_eigenvalue(gram).lower)


def _signals_min(term: Term) -> float:
    """min_i ‖B_i‖², rounded down by the error of the sum of squares; 1 for the output layer."""
    if term.signals is None:
        return 1.0
    rows = term.signals.rows
    u = torch.finfo(rows.dtype).eps
    least = float(rows.square().sum(dim=1).min())
    return least * max(0.0, 1.0 - (rows.shape[1] + 2) * u)


def ladder(
    K: Kernel, layers: list[Layer], smallest: Eigenvalue, floor: float | None = None
) -> list[Rung]:
    """Bounds on λ_min, from the loosest lower one to the loosest upper one.

    ``floor``: of a limiting kernel, what the correlations of the rows alone give.
    """
    correlations = Rung(
        "correlations", floor or 0.0, "lower", "Σ_k κ_k max(0, 1 − max_i Σ_{j≠i} |ρ_ij|^k)",
        "Weyl and Gershgorin on the power series of Murray et al. 2023",
    )  # fmt: skip
    diagonal = K.diagonal()
    trace = float(diagonal.sum())
    # an upper bound stays one when rounded; a kernel of zeros has nothing to round
    up = 1.0 + (K.forming_error() / trace if trace > 0 else 0.0)
    schur = [layer.schur for layer in layers]
    own = [max(0.0, layer.smallest - layer.smallest_error) for layer in layers]
    return [
        *([] if floor is None else [correlations]),
        Rung(
            "best layer, Schur", max(schur), "lower",
            "max_k λ_min(F_k F_kᵀ) · min_i ‖(B_{k+1})_i‖²",
            "Nguyen et al. 2021, Theorem 4.1 (proof)",
        ),
        Rung(
            "all layers, Schur", _sum_down(schur), "lower",
            "Σ_k λ_min(F_k F_kᵀ) · min_i ‖(B_{k+1})_i‖²", "Nguyen et al. 2021, §4.1",
        ),
        Rung(
            "all layers, their λ_min", _sum_down(own), "lower", "Σ_k λ_min(K_k)",
            "Weyl; K ⪰ K_{L−2} in Bombari et al. 2022, §3",
        ),
        Rung("λ_min", smallest.value, "value", "λ_min(K)", smallest.method.split(";")[0]),
        Rung(
            "closest pair of gradients", _pair_bound(K, diagonal, up - 1.0), "upper",
            "min_{i<j} λ_min [K_ii K_ij; K_ij K_jj]",
            "Cauchy interlacing; the pair of Karhadkar et al. 2024",
        ),
        Rung(
            "smallest gradient", float(diagonal.min()) * up, "upper", "min_i K_ii",
            "Rayleigh quotient at e_i",
        ),
        Rung(
            "mean eigenvalue", up_to(up_to(K.trace() + trace_error(K)) / len(K)), "upper", "tr K / N",
            "Nguyen et al. 2021, Theorem 3.2 (upper bound)",
        ),
    ]  # fmt: skip


def _sum_down(values: list[float]) -> float:
    """At most the sum of values ≥ 0."""
    return max(0.0, down_to(math.fsum(values)))


def _pair_bound(K: Kernel, diagonal: Tensor, gamma: float, block: int = 512) -> float:
    """The least eigenvalue of a 2×2 principal submatrix, plus what forming it may have cost."""
    best = torch.inf
    for i in range(0, len(K), block):
        rows = slice(i, min(i + block, len(K)))
        tile = K.tile(rows, slice(i, len(K)))
        mean = 0.5 * (diagonal[rows, None] + diagonal[None, i:])
        gap = 0.5 * (diagonal[rows, None] - diagonal[None, i:])
        value = mean * (1.0 + 2.0 * gamma) - torch.hypot(gap, tile)
        value[torch.ones_like(value, dtype=torch.bool).tril()] = torch.inf
        best = min(best, float(value.min()))
    return best
