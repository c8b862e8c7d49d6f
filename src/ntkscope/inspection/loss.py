"""What the loss that is trained makes of the kernel: curvature, stable steps, the edge of stability."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntkscope.inspection.examined import Examined
from ntkscope.inspection.pairs import Pairs
from ntkscope.inspection.shares import trace_error
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.loss.kernel import GaussNewtonKernel
from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.loss.make import loss_of, require_blocks
from ntkscope.kernels.loss.parts import divides
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.prepared import Options
from ntkscope.report.result import Result
from ntkscope.spectra.density import Density, Estimate, spectral_density
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.extremes import extreme_eigenvalues, largest_eigenvalue, largest_of_trace
from ntkscope.spectra.rounding import U, down_to, up, up_to
from ntkscope.training.preconditioner import preconditioner
from ntkscope.training.second_derivative import SecondDerivativeError, lacks_derivative
from ntkscope.training.sharpness import Sharpness, sharpness_of

_SHARE = 0.01  # of λ_max: the ridge of the effective dimension


@dataclass(frozen=True)
class LossCurvature(Result):
    """The Gauss-Newton matrix G = Jᵀ (∇²L) J of the loss that is trained, and the loss's sharpness.

    Attributes
    ----------
    loss, value: its name, L at the model.
    rows: the eigenvalues of G that need not be 0; directions: r, of a ``unit``, a sample or a token.
    smallest: the least of them, None above 4000 outputs or where G is too large to form. largest: λ_max(G).
    trace, trace_error: tr G and a bound on its error.
    spectrum: (rows,) in ascending order, None where ``smallest`` is.
    effective_dimension: Σ λ/(λ + λ_max/100), None without the spectrum.
    largest_stable_step: 2 over the upper end of λ_max(G), for gradient descent on the linearised model;
        2/λ_max is at most ``largest_stable_step_error`` above it.
    any_batch_step: 2 over n times the largest curvature of one unit's share of L, n the units that count.
        Below it no step on any batch, of the same mean (or sum) over its units, expands the linearised
        model's error. None of a function that is not the mean or sum of what it is on batches of one, such
        as a mean with class weights, which torch divides by the batch's weights.
    sharpness: λ_max of the Hessian itself, where the model has one.
    optimizer, preconditioned: the optimizer's name, and λ_max(P^-½ G P^-½) as its steps see G, whose
        ``edge_step`` is the step at which the linearised model turns unstable; "" and None without one.
    note: a caution about the loss, or "".
    missing: why "sharpness" or "preconditioned" is None where it was asked for, by its name.
    """

    loss: str
    value: float
    unit: str
    rows: int
    directions: int
    smallest: Eigenvalue | None
    largest: Eigenvalue
    trace: float
    trace_error: float
    spectrum: Tensor | None
    effective_dimension: Estimate | None
    largest_stable_step: float
    largest_stable_step_error: float
    any_batch_step: float | None
    sharpness: Sharpness | None
    optimizer: str = ""
    preconditioned: Sharpness | None = None
    missing: dict[str, str] = field(default_factory=dict)
    note: str = ""


def inspect_loss(
    seen: Examined,
    loss: LossLike,
    targets: Any,
    options: Options,
    curvature: bool = True,
    optimizer: torch.optim.Optimizer | None = None,
) -> LossCurvature:
    """Measure the loss at the model; ``curvature``: its sharpness too.

    Raises ValueError for a kernel or a limit, which have no outputs, and targets that do not fit.
    """
    if seen.prepared is None:
        raise ValueError(
            "a loss is taken at a model's outputs; a kernel by itself and a limiting kernel have none"
        )
    steps = None if optimizer is None else preconditioner(optimizer, seen.model)
    at = loss_of(seen.prepared, loss, targets)
    require_blocks(at)
    pairs = seen.pairs
    K = GaussNewtonKernel(pairs.kernel, at).to(torch.float64)
    trace, error = K.trace(), trace_error(K)
    own = _own_curvatures(K)
    smallest, largest, spectrum = _ends(K, pairs, up(trace + error), up(math.fsum(own)))
    stable = down_to(2.0 / largest.upper) if largest.upper > 0 else math.inf
    limit = up_to(2.0 / largest.lower) if largest.lower > 0 else math.inf
    sharpness, preconditioned, missing = None, None, dict[str, str]()
    if curvature:
        try:
            sharpness = sharpness_of(_as_module(seen, options), at)
        except SecondDerivativeError as why:
            missing["sharpness"] = _reason(why)
    if steps is not None:
        module = _as_module(seen, options)
        try:
            preconditioned = sharpness_of(module, at, steps=steps, gauss_newton=True)
        except RuntimeError as why:
            if not lacks_derivative(why):
                raise
            missing["preconditioned"] = _reason(why)
    steepest = up(len(own) * max(own))
    every = divides(loss, at.outputs, targets)
    return LossCurvature(
        loss=at.title,
        value=at.value,
        unit=at.unit,
        rows=len(K),
        directions=K.directions,
        smallest=smallest,
        largest=largest,
        trace=trace,
        trace_error=error,
        spectrum=None if spectrum is None else spectrum.nodes[0].cpu(),
        effective_dimension=None
        if spectrum is None
        else spectrum.effective_dimension(max(_SHARE * largest.value, math.ulp(0.0))),
        largest_stable_step=stable,
        largest_stable_step_error=up_to(limit - stable),
        any_batch_step=min(stable, down_to(2.0 / steepest) if steepest > 0 else math.inf)
        if every
        else None,
        sharpness=sharpness,
        optimizer="" if optimizer is None else type(optimizer).__name__,
        preconditioned=preconditioned,
        missing=missing,
        note=at.note,
    )


def _ends(
    K: Kernel, pairs: Pairs, trace: float, above: float
) -> tuple[Eigenvalue | None, Eigenvalue, Density | None]:
    """λ_min, λ_max and all eigenvalues of a small matrix; λ_max alone of another.

    ``trace``, ``above``: upper bounds on tr K and λ_max.
    """
    if not pairs.formed:
        return None, largest_of_trace(K, trace, above), None
    if not pairs.small:
        return None, largest_eigenvalue(K), None
    ends = extreme_eigenvalues(K)
    return ends.smallest[0], ends.largest[0], spectral_density(K, exact=True)


def _own_curvatures(K: GaussNewtonKernel) -> list[float]:
    """At least the largest eigenvalue of each unit's own block, whose sum is at least that of K: with
    J_i its rows and Jᵀ = (J_1ᵀ … J_nᵀ), ‖JᵀJ‖ ≤ Σ_i ‖J_iᵀJ_i‖."""
    blocks = K.own_blocks
    norms = torch.linalg.eigvalsh(blocks)[:, -1]
    # an entry is wrong by γ √(K_aa K_bb), a block by γ times its trace
    sizes = blocks.diagonal(dim1=1, dim2=2).sum(dim=1)
    rounding = K.entry_error() + (blocks.shape[1] + 8) * 8 * U
    return [
        max(0.0, float(norm) + rounding * float(size))
        for norm, size in zip(norms, sizes, strict=True)
    ]


def _reason(error: Exception) -> str:
    """Why a model has no derivative of some kind, in one line."""
    return str(error).strip().splitlines()[0].rstrip(".")


def _as_module(seen: Examined, options: Options) -> PreparedModule:
    if isinstance(seen.prepared, PreparedModule):
        return seen.prepared
    return PreparedModule(seen.model, seen.X, options)
