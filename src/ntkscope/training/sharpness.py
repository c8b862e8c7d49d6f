"""Sharpness: the largest eigenvalue of the Hessian of the loss in the parameters, as an optimizer sees it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.caution import warn
from ntkscope._base.samples import as_samples
from ntkscope.kernels.loss.losses import AtOutputs, LossLike
from ntkscope.kernels.loss.make import loss_of, warn_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.subject import Parameters, Subject
from ntkscope.kernels.prepared import Options
from ntkscope.report.result import Result
from ntkscope.spectra.density import Estimate
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block
from ntkscope.training.preconditioner import Preconditioner, preconditioner
from ntkscope.training.pushforward import Push, pushforward
from ntkscope.training.second_derivative import hessian_product, require_second_derivative
from ntkscope.training.share import Share, Shares, split

_PROBES = 16  # of a trace


class LeftOutWarning(UserWarning):
    """Parameters are not in the curvature that an optimizer sees."""


@dataclass(frozen=True)
class Sharpness(Result, also=("edge_step",)):
    """λ_max of P^-½ (∇²_θL + D) P^-½, from below; P is 1 unless an optimizer preconditions, D its weight decay.

    Attributes
    ----------
    value: a Ritz value, at most λ_max up to rounding.
    residual: ‖Hv − value·v‖₂; some eigenvalue lies within this distance of ``value``.
    products: with the Hessian.
    converged: whether the residual is below the tolerance.
    threshold: of η·λ_max; steps above it are unstable. 2 for gradient descent.
    trace: of the same matrix with Gauss-Newton's in place of ∇²L, from random signs; None for the Hessian.
    seconds: wall time.
    unseen: the part of a product with the Hessian, relative, that its comparison with a finite
        difference of gradients could not tell from their errors (NaN where both are 0); None for the Gauss-Newton matrix.
    left_out: parameters whose gradients the optimizer cannot have seen, which are not in ``value``.
    """

    value: float
    residual: float
    products: int
    converged: bool
    seconds: float
    threshold: float = 2.0
    trace: Estimate | None = None
    unseen: float | None = None
    left_out: tuple[str, ...] = ()

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
    optimizer: SGD, Adam or AdamW with the state that it trains with: its threshold, weight decay, and for Adam
        its preconditioner P. Of gradient descent without momentum where none is given.
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
    warn_of(at)
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
    roots, shifts, left_out = _of_steps(steps, shares, prepared)
    product = _Product(shares, subject, roots, shifts, push)
    start = random_block(subject.n_parameters, 1, subject.device, seed)

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[0] <= tol * values[0].abs())

    found = block_lanczos(product, start, done, keep=1, max_columns=most)
    trace = product.trace(seed) if gauss_newton else None
    return Sharpness(
        float(found.values[0]), float(found.residuals[0]), found.products, found.converged,
        time.perf_counter() - begin, 2.0 if steps is None else steps.threshold, trace, unseen, left_out,
    )  # fmt: skip


def used(prepared: PreparedModule) -> list[str]:
    """The parameters that the outputs depend on."""
    found = {*prepared.survey.structured, *prepared.survey.general}
    return [name for name in prepared.subject.parameters if name in found]


def _of_steps(
    steps: Preconditioner | None, shares: Shares, prepared: PreparedModule
) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
    """P^-½ and P⁻¹ D, None for 1 and 0, with zeros at the parameters that are left out."""
    if steps is None:
        return None, None, ()
    parameters = prepared.subject.parameters
    steps.require(used(prepared))
    roots, shifts = steps.roots(parameters), steps.shifts(parameters)
    left_out = _unlike(steps, shares, parameters)
    if left_out:
        parts = [torch.full_like(p, n not in left_out).reshape(-1) for n, p in parameters.items()]
        kept = torch.cat(parts)
        roots = kept if roots is None else roots * kept
        shifts = None if shifts is None else shifts * kept
    return roots, shifts, left_out


def _unlike(steps: Preconditioner, shares: Shares, parameters: Parameters) -> tuple[str, ...]:
    """The parameters whose gradients the optimizer cannot have seen, which a warning names.

    A bias before BatchNorm has no gradient in train mode and one in eval mode: v̂ is 0, P is ε, and a
    step with that gradient would have changed both. Raises ValueError where all are such.
    """
    if not steps.largest_seen:
        return ()
    slope = reduce(torch.add, (share.slope(share.gradient) for share in shares))
    parts = zip(parameters, split(slope.to(torch.float64), parameters), strict=True)
    unlike = [
        name for name, part in parts
        if float(torch.linalg.vector_norm(part)) > steps.largest_seen.get(name, math.inf)
    ]  # fmt: skip
    if len(unlike) == len(steps.largest_seen.keys() & parameters.keys()) > 0:
        raise ValueError(
            "the optimizer has seen no gradients of the size that this loss has here, so its "
            "preconditioner is not of this loss; measure the loss that it trains, in the modes it trains in"
        )
    if unlike:
        warn(
            f"the optimizer has seen no gradients of {', '.join(unlike)} of the size that this loss has "
            "here (as with a bias before BatchNorm, measured in eval mode); they are left out of the "
            "curvature that it sees",
            LeftOutWarning,
        )
    return tuple(unlike)


class _Product:
    """V ↦ (S A S + E) V for the Hessian A of a loss, or its Gauss-Newton matrix Jᵀ R Rᵀ J.

    S and E are diagonal; None for 1 and 0.
    """

    def __init__(
        self,
        shares: Shares,
        subject: Subject,
        S: Tensor | None,
        E: Tensor | None,
        push: Push | None,
    ) -> None:
        self._shares, self._subject, self._S, self._E, self._push = shares, subject, S, E, push

    def __call__(self, V: Tensor) -> Tensor:
        S = None if self._S is None else self._S[:, None].to(V)
        directions = (V if S is None else S * V).to(self._subject.dtype)
        total = torch.zeros_like(directions)
        for share in self._shares:
            total += self._of(share, directions)
        found = total.to(V.dtype)
        found = found if S is None else S * found
        return found if self._E is None else found + self._E[:, None].to(V) * V

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
        shift = 0.0 if self._E is None else float(self._E.sum())
        return Estimate(float(each.mean()) + shift, float(each.std()) / math.sqrt(probes))

    def _pulled(self, generator: torch.Generator) -> Tensor:
        """Jᵀ R z."""
        return reduce(torch.add, (self._weighted(share, generator) for share in self._shares))

    def _weighted(self, share: Share, generator: torch.Generator) -> Tensor:
        b, _, r = share.roots.shape
        signs = 2 * torch.randint(2, (b, r, 1), generator=generator) - 1
        return share.slope(share.roots.push(signs.to(share.gradient))[..., 0])
