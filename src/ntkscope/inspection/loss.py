"""What the loss that is trained makes of the kernel: curvature, stable steps, the edge of stability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntkscope.inspection.examined import Examined
from ntkscope.inspection.shares import trace_error
from ntkscope.kernels.loss.kernel import GaussNewtonKernel
from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.loss.make import loss_of, require_blocks
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.prepared import Options
from ntkscope.report.result import Result
from ntkscope.spectra.density import Density, Estimate, spectral_density
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.extremes import extreme_eigenvalues, largest_of_trace
from ntkscope.spectra.rounding import down_to, up, up_to
from ntkscope.training.preconditioner import preconditioner
from ntkscope.training.sharpness import Sharpness, sharpness_of

_ALL_ENDS = 1000  # rows up to which λ_min is computed
_ALL_EIGENVALUES = 3000  # and all eigenvalues
_SHARE = 0.01  # of λ_max: the ridge of the effective dimension


@dataclass(frozen=True)
class LossCurvature(Result):
    """The Gauss-Newton matrix G = Jᵀ (∇²L) J of the loss that is trained, and the loss's sharpness.

    Attributes
    ----------
    loss, value: its name, L at the model.
    rows: the eigenvalues of G that need not be 0; directions: r, of a ``unit``, a sample or a token.
    smallest: the least of them, None above 1000 rows. largest: λ_max(G).
    trace, trace_error: tr G and a bound on its error.
    spectrum: (rows,) in ascending order, None above 3000 rows.
    effective_dimension: Σ λ/(λ + λ_max/100), None without the spectrum.
    largest_stable_step: 2 over the upper end of λ_max(G), for gradient descent on the linearised model;
        2/λ_max is at most ``largest_stable_step_error`` above it.
    any_batch_step: 2 over n times the largest curvature of one unit's share of L, n the units that count.
        Below it no step on any batch, of the same mean (or sum) over its units, expands the linearised
        model's error.
    sharpness: λ_max of the Hessian itself, where the model has one.
    optimizer, preconditioned: the optimizer's name, and λ_max(P^-½ G P^-½) as its steps see G, whose
        ``edge_step`` is the step at which the linearised model turns unstable; "" and None without one.
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
    any_batch_step: float
    sharpness: Sharpness | None
    optimizer: str = ""
    preconditioned: Sharpness | None = None


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
    require_blocks(at, len(seen.prepared.outputs()))
    rows = at.roots.shape[0] * at.roots.shape[2]
    small = rows <= _ALL_EIGENVALUES
    pairs = seen.prepared.beside("full") if small else seen.prepared.products("full")
    K = GaussNewtonKernel(pairs, at)
    trace = K.trace()
    error = trace_error(K)
    density: Density | None = None
    dimension: Estimate | None = None
    if rows <= _ALL_ENDS:
        ends = extreme_eigenvalues(K)
        smallest, largest = ends.smallest[0], ends.largest[0]
    else:
        smallest, largest = None, largest_of_trace(K, up(trace + error))
    if small:
        density = spectral_density(K, exact=True)
        dimension = density.effective_dimension(max(_SHARE * largest.value, math.ulp(0.0)))
    stable = down_to(2.0 / largest.upper) if largest.upper > 0 else math.inf
    limit = up_to(2.0 / largest.lower) if largest.lower > 0 else math.inf
    steepest = len(at.roots) * float(torch.linalg.matrix_norm(K.own_blocks, ord=2).max())
    return LossCurvature(
        loss=at.title,
        value=at.value,
        unit=at.unit,
        rows=rows,
        directions=K.directions,
        smallest=smallest,
        largest=largest,
        trace=trace,
        trace_error=error,
        spectrum=None if density is None else density.nodes[0].cpu(),
        effective_dimension=dimension,
        largest_stable_step=stable,
        largest_stable_step_error=up_to(limit - stable),
        any_batch_step=down_to(2.0 / (steepest * (1 + 1e-9))) if steepest > 0 else math.inf,
        sharpness=sharpness_of(_as_module(seen, options), at) if curvature else None,
        optimizer="" if optimizer is None else type(optimizer).__name__,
        preconditioned=None
        if steps is None
        else sharpness_of(_as_module(seen, options), at, steps=steps, gauss_newton=True),
    )


def _as_module(seen: Examined, options: Options) -> PreparedModule:
    if isinstance(seen.prepared, PreparedModule):
        return seen.prepared
    return PreparedModule(seen.model, seen.X, options)
