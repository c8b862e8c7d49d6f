"""Sharpness: the largest eigenvalue of the Hessian of the loss in the parameters, as an optimizer sees it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.samples import as_samples
from ntkscope.kernels.loss.losses import AtOutputs, LossLike
from ntkscope.kernels.loss.make import loss_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.subject import Subject
from ntkscope.kernels.prepared import Options
from ntkscope.report.result import Result
from ntkscope.spectra.density import Estimate
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block
from ntkscope.training.preconditioner import Preconditioner, preconditioner
from ntkscope.training.pushforward import Push, pushforward
from ntkscope.training.second_derivative import hessian_product, require_second_derivative
from ntkscope.training.share import Share, Shares

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
    unseen: the part of a product with the Hessian, relative, that its comparison with a finite
        difference of gradients could not tell from their errors; None for the Gauss-Newton matrix.
    """

    value: float
    residual: float
    products: int
    converged: bool
    seconds: float
    threshold: float = 2.0
    trace: Estimate | None = None
    unseen: float | None = None

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

    By Lanczos on products: with the Hessian by two backward passes, which are compared with a finite
    difference of gradients once; with the Gauss-Newton matrix by a forward derivative and a backward pass.

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

    Raises what :func:`gauss_newton_kernel` raises; SecondDerivativeError, a ValueError, where the Hessian is
    asked for and an operation has no second derivative or hides that it has none; TypeError or ValueError for an optimizer of another
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
    shares = Shares(prepared, at)
    push = pushforward(shares.few()) if gauss_newton else None
    unseen = None if gauss_newton else require_second_derivative(shares.few())
    product = _Product(shares, subject, _roots_of(steps, prepared), push)
    start = random_block(subject.n_parameters, 1, subject.device, seed)

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[0] <= tol * values[0].abs())

    found = block_lanczos(product, start, done, keep=1, max_columns=most)
    trace = product.trace(seed) if gauss_newton else None
    return Sharpness(
        float(found.values[0]), float(found.residuals[0]), found.products, found.converged,
        time.perf_counter() - begin, 2.0 if steps is None else steps.threshold, trace, unseen,
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
    """V ↦ S A S V for the Hessian A of a loss, or its Gauss-Newton matrix Jᵀ R Rᵀ J."""

    def __init__(
        self, shares: Shares, subject: Subject, S: Tensor | None, push: Push | None
    ) -> None:
        self._shares, self._subject, self._S, self._push = shares, subject, S, push

    def __call__(self, V: Tensor) -> Tensor:
        S = None if self._S is None else self._S[:, None].to(V)
        directions = (V if S is None else S * V).to(self._subject.dtype)
        total = torch.zeros_like(directions)
        for share in self._shares:
            total += self._of(share, directions)
        found = total.to(V.dtype)
        return found if S is None else S * found

    def _of(self, share: Share, V: Tensor) -> Tensor:
        if self._push is None:
            return hessian_product(share, V)
        pushed = [share.curved(self._push(share, v)) for v in V.T]
        return torch.stack([share.slope(weights) for weights in pushed], dim=1)

    def trace(self, seed: int, probes: int = _PROBES) -> Estimate:
        """Of the Gauss-Newton matrix: the mean of ‖S Jᵀ R z‖² over vectors z of random signs."""
        generator = torch.Generator().manual_seed(seed)
        found = []
        for _ in range(probes):
            slope = self._pulled(generator)
            slope = slope if self._S is None else self._S * slope
            found.append(float(slope.to(torch.float64).square().sum()))
        each = torch.tensor(found, dtype=torch.float64)
        return Estimate(float(each.mean()), float(each.std()) / math.sqrt(probes))

    def _pulled(self, generator: torch.Generator) -> Tensor:
        """Jᵀ R z."""
        total = torch.zeros(self._subject.n_parameters, dtype=self._subject.dtype)
        total = total.to(self._subject.device)
        for share in self._shares:
            b, _, r = share.roots.shape
            signs = 2 * torch.randint(2, (b, r, 1), generator=generator) - 1
            total += share.slope(share.roots.push(signs.to(share.gradient))[..., 0])
        return total
