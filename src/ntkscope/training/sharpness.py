"""Sharpness: the largest eigenvalue of the Hessian of the loss in the parameters, as an optimizer sees it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkscope._base import memory
from ntkscope._base.samples import as_samples
from ntkscope.kernels.loss.losses import AtOutputs, LossLike
from ntkscope.kernels.loss.make import loss_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.plain import flat
from ntkscope.kernels.module.reading.subject import take
from ntkscope.kernels.prepared import Options
from ntkscope.report.result import Result
from ntkscope.spectra.density import Estimate
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block
from ntkscope.training.preconditioner import Preconditioner, preconditioner

_PROBES = 16  # of a trace


@dataclass(frozen=True)
class Sharpness(Result, also=("edge_step",)):
    """λ_max of P^-½ ∇²_θL P^-½, from below; P is the identity unless an optimizer preconditions.

    Attributes
    ----------
    value: a Ritz value, at most λ_max up to rounding.
    residual: ‖Hv − value·v‖₂; some eigenvalue lies within this distance of ``value``.
    products: with the Hessian.
    converged: whether the residual is below the tolerance.
    threshold: of η·λ_max; steps above it are unstable. 2 for gradient descent.
    trace: of the same Gauss-Newton matrix, from random signs; None for the Hessian.
    seconds: wall time.
    """

    value: float
    residual: float
    products: int
    converged: bool
    seconds: float
    threshold: float = 2.0
    trace: Estimate | None = None

    @property
    def edge_interval(self) -> tuple[float, float]:
        """Of the edge but for rounding, if the eigenvalue within ``residual`` of ``value`` is the largest.

        Its upper end holds whatever eigenvalue was found, as ``value`` is at most λ_max.
        """
        above = self.value + self.residual
        return self.threshold / above if above > 0 else math.inf, self.edge_step

    @property
    def edge_step(self) -> float:
        """threshold/λ_max: above it steps leave the quadratic at θ; infinite where λ_max ≤ 0."""
        return self.threshold / self.value if self.value > 0 else math.inf


def sharpness(
    model: Any,
    X: Any,
    targets: Any = None,
    *,
    loss: LossLike = "cross_entropy",
    optimizer: torch.optim.Optimizer | None = None,
    gauss_newton: bool = False,
    params: Any = None,
    chunk_size: int | None = None,
    output: Output = None,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Sharpness:
    """The sharpness of ``loss`` at ``model``, which full-batch gradient descent with step η brings to 2/η
    (Cohen et al., ICLR 2021, "edge of stability"), and Adam, preconditioned, to (2 + 2β₁)/((1 − β₁)η), 38/η
    at β₁ = 0.9 (Cohen et al. 2022, "Adaptive gradient methods at the edge of stability").

    By Lanczos on products with the Hessian, two backward passes each.

    Parameters
    ----------
    optimizer: SGD, Adam or AdamW with the state that it trains with: its threshold, and for Adam its
        preconditioner P. Of gradient descent without momentum where none is given.
    gauss_newton: the largest eigenvalue of the Gauss-Newton matrix Jᵀ (∇²L) J in place of the Hessian's,
        and an estimate of its trace. Nothing grows with the square of the number of outputs, so the
        cross-entropy of a language model over all tokens and words is taken as it is.
    tol: the residual, relative, at which it stops.
    model, X, targets, loss, params, chunk_size, output: as in :func:`gauss_newton_kernel`.
    max_products: with the Hessian.
    seed: of Lanczos' start.

    Returns
    -------
    Sharpness: a Ritz value with its residual.

    Raises what :func:`gauss_newton_kernel` raises; TypeError or ValueError for an optimizer of another
    kind, without a step behind it, or that does not hold the parameters.
    """
    samples = as_samples(X)
    options = Options(params, None, chunk_size, output=output)
    steps = None if optimizer is None else preconditioner(optimizer, model)
    prepared = PreparedModule(model, samples, options)
    at = loss_of(prepared, loss, samples.targets if targets is None else targets)
    return sharpness_of(prepared, at, tol, max_products, seed, steps, gauss_newton)


@with_gradients
def sharpness_of(
    prepared: PreparedModule,
    at: AtOutputs,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
    steps: Preconditioner | None = None,
    gauss_newton: bool = False,
) -> Sharpness:
    """The same for a model read before."""
    begin, subject = time.perf_counter(), prepared.subject
    most = min(max_products, subject.n_parameters)
    memory.require(
        8.0 * subject.n_parameters * (most + 4), "Lanczos on the Hessian of the loss",
        "pass params= for some of the parameters, or fewer max_products",
    )  # fmt: skip
    product = _Product(prepared, at, _roots_of(steps, prepared), gauss_newton)
    start = random_block(subject.n_parameters, 1, subject.device, seed)

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[0] <= tol * values[0].abs())

    found = block_lanczos(product, start, done, keep=1, max_columns=most)
    trace = product.trace(seed) if gauss_newton else None
    return Sharpness(
        float(found.values[0]), float(found.residuals[0]), found.products, found.converged,
        time.perf_counter() - begin, 2.0 if steps is None else steps.threshold, trace,
    )  # fmt: skip


def _roots_of(steps: Preconditioner | None, prepared: PreparedModule) -> Tensor | None:
    """P^-½ in the order of the subject's parameters, None for the identity."""
    if steps is None or steps.scale is None:
        return None
    parameters = prepared.subject.parameters
    missing = [name for name in parameters if name not in steps.scale]
    if missing:
        raise ValueError(
            f"the optimizer does not hold {', '.join(missing)}; pass params= for the parameters that "
            "it trains"
        )
    return torch.cat([steps.scale[name].reshape(-1) for name in parameters]).rsqrt()


class _Product:
    """V ↦ S ∇²L S V by differentiating, chunk by chunk, Σ_b ⟨g_b, f_b⟩ + ½‖R_bᵀ(f_b − f_b(θ_0))‖².

    At θ_0 that has the Hessian of L: g and R Rᵀ are L's derivatives in the outputs. Without its first
    part it has the Gauss-Newton matrix.
    """

    def __init__(
        self, prepared: PreparedModule, at: AtOutputs, S: Tensor | None, gauss_newton: bool
    ) -> None:
        self._prepared, self._S = prepared, S
        self._n, self._chunk = len(prepared.rows[0]), prepared.chunk
        self._roots = at.all_roots()
        self._gradient = torch.zeros_like(at.gradient) if gauss_newton else at.gradient
        self._each = len(at.gradient) // self._n  # blocks of a sample

    def __call__(self, V: Tensor) -> Tensor:
        subject = self._prepared.subject
        S = None if self._S is None else self._S[:, None].to(V)
        directions = (V if S is None else S * V).to(subject.dtype)
        total = torch.zeros_like(directions)
        # fused attention has no second derivative
        with subject.autograd() as (leaves, run), sdpa_kernel(SDPBackend.MATH):
            for rows in self._spans():
                outputs = run(take(self._prepared.rows, rows))
                total += self._of_chunk(outputs, list(leaves.values()), rows, directions)
        found = total.to(V.dtype)
        return found if S is None else S * found

    def trace(self, seed: int, probes: int = _PROBES) -> Estimate:
        """Of the Gauss-Newton matrix: the mean of ‖S Jᵀ R z‖² over vectors z of random signs."""
        generator = torch.Generator().manual_seed(seed)
        b, _, r = self._roots.shape
        found = []
        for _ in range(probes):
            signs = 2 * torch.randint(2, (b, r, 1), generator=generator) - 1
            weights = self._roots.push(signs.to(self._gradient))[..., 0]
            slope = self._slope(weights)
            slope = slope if self._S is None else self._S * slope
            found.append(float(slope.to(torch.float64).square().sum()))
        each = torch.tensor(found, dtype=torch.float64)
        return Estimate(float(each.mean()), float(each.std()) / math.sqrt(probes))

    def _slope(self, weights: Tensor) -> Tensor:
        """Jᵀ w, (P,), for w (B, C)."""
        subject = self._prepared.subject
        total = torch.zeros(subject.n_parameters, dtype=subject.dtype, device=subject.device)
        for rows in self._spans():
            with subject.autograd() as (leaves, run):
                outputs = run(take(self._prepared.rows, rows))
                own = weights[rows.start * self._each : rows.stop * self._each]
                slopes = torch.autograd.grad(
                    outputs, list(leaves.values()), own.reshape(outputs.shape), allow_unused=True
                )
                total += _joined(slopes, list(leaves.values()))
        return total

    def _spans(self) -> Iterator[slice]:
        for i in range(0, self._n, self._chunk):
            yield slice(i, min(i + self._chunk, self._n))

    def _of_chunk(
        self, outputs: Tensor, leaves: list[Tensor], rows: slice, directions: Tensor
    ) -> Tensor:
        blocks = slice(rows.start * self._each, rows.stop * self._each)
        outputs = outputs.reshape(blocks.stop - blocks.start, -1)
        moved = self._roots[blocks].pull((outputs - outputs.detach())[..., None])
        surrogate = (self._gradient[blocks] * outputs).sum() + 0.5 * moved.square().sum()
        slopes = torch.autograd.grad(surrogate, leaves, create_graph=True, allow_unused=True)
        used = [g for g in slopes if g is not None and g.requires_grad]
        if not used:
            return torch.zeros_like(directions)
        columns = []
        for v in directions.T:
            parts = v.split([p.numel() for p in leaves])
            inner = sum(
                (g * part.view_as(g)).sum()
                for g, part in zip(slopes, parts, strict=True)
                if g is not None and g.requires_grad
            )
            second = torch.autograd.grad(inner, leaves, retain_graph=True, allow_unused=True)
            columns.append(_joined(second, leaves))
        return torch.stack(columns, dim=1)


def _joined(slopes: Sequence[Tensor | None], leaves: list[Tensor]) -> Tensor:
    return torch.cat(
        [flat(torch.zeros_like(p) if g is None else g) for g, p in zip(slopes, leaves, strict=True)]
    )
