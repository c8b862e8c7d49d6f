"""Sharpness: the largest eigenvalue of the Hessian of the loss in the parameters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkscope._base import memory
from ntkscope._base.records import Record
from ntkscope._base.samples import as_samples
from ntkscope.kernels.loss.losses import AtOutputs, LossLike
from ntkscope.kernels.loss.make import loss_of
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.subject import take
from ntkscope.kernels.prepared import Options
from ntkscope.spectra.solvers.krylov import block_lanczos, random_block


@dataclass(frozen=True)
class Sharpness(Record, also=("edge_step",)):
    """λ_max(∇²_θ L), from below.

    value: a Ritz value, at most λ_max but for rounding. residual: ‖Hv − value·v‖: an eigenvalue lies that
    near. products: with the Hessian. converged: whether the residual is below the tolerance.
    """

    value: float
    residual: float
    products: int
    converged: bool
    seconds: float

    @property
    def edge_step(self) -> float:
        """2/λ_max: above it gradient descent leaves the quadratic at θ; infinite where λ_max ≤ 0."""
        return 2.0 / self.value if self.value > 0 else float("inf")


def sharpness(
    model: Any,
    X: Any,
    targets: Any = None,
    *,
    loss: LossLike = "cross_entropy",
    params: Any = None,
    chunk_size: int | None = None,
    output: Output = None,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Sharpness:
    """The sharpness of ``loss`` at ``model``, which full-batch gradient descent with step η brings to 2/η
    (Cohen et al., ICLR 2021, "edge of stability").

    By Lanczos on products with the Hessian, two backward passes each. tol: the residual, relative, at
    which it stops; seed: of its start. The others as in :func:`gauss_newton_kernel`, and so the errors.
    """
    samples = as_samples(X)
    options = Options(params, None, chunk_size, output=output)
    prepared = PreparedModule(model, samples, options)
    at = loss_of(prepared, loss, samples.targets if targets is None else targets)
    return sharpness_of(prepared, at, tol, max_products, seed)


@with_gradients
def sharpness_of(
    prepared: PreparedModule,
    at: AtOutputs,
    tol: float = 1e-3,
    max_products: int = 100,
    seed: int = 0,
) -> Sharpness:
    """The same for a model read before."""
    begin, subject = time.perf_counter(), prepared.subject
    steps = min(max_products, subject.n_parameters)
    memory.require(
        8.0 * subject.n_parameters * (steps + 4), "Lanczos on the Hessian of the loss",
        "pass params= for some of the parameters, or fewer max_products",
    )  # fmt: skip
    product = _Product(prepared, at)
    start = random_block(subject.n_parameters, 1, subject.device, seed)

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[0] <= tol * values[0].abs())

    found = block_lanczos(product, start, done, keep=1, max_columns=steps)
    return Sharpness(
        float(found.values[0]), float(found.residuals[0]), found.products, found.converged,
        time.perf_counter() - begin,
    )  # fmt: skip


class _Product:
    """V ↦ ∇²L V by differentiating, chunk by chunk, Σ_i ⟨g_i, f_i⟩ + ½‖R_iᵀ(f_i − f_i(θ_0))‖².

    At θ_0 that has the Hessian of L: g and R R ᵀ are L's derivatives in the outputs.
    """

    def __init__(self, prepared: PreparedModule, at: AtOutputs) -> None:
        self._prepared, self._at = prepared, at
        self._n, self._chunk = len(prepared.rows[0]), prepared.chunk

    def __call__(self, V: Tensor) -> Tensor:
        subject = self._prepared.subject
        directions = V.to(subject.dtype)
        total = torch.zeros_like(directions)
        # fused attention has no second derivative
        with subject.autograd() as (leaves, run), sdpa_kernel(SDPBackend.MATH):
            for rows in self._spans():
                outputs = run(take(self._prepared.rows, rows))
                total += self._of_chunk(outputs, list(leaves.values()), rows, directions)
        return total.to(V.dtype)

    def _spans(self) -> Iterator[slice]:
        for i in range(0, self._n, self._chunk):
            yield slice(i, min(i + self._chunk, self._n))

    def _of_chunk(
        self, outputs: Tensor, leaves: list[Tensor], rows: slice, directions: Tensor
    ) -> Tensor:
        moved = (outputs - outputs.detach())[:, None] @ self._at.roots[rows]
        surrogate = (self._at.gradient[rows] * outputs).sum() + 0.5 * moved.square().sum()
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
            columns.append(
                torch.cat(
                    [
                        (torch.zeros_like(p) if h is None else h).reshape(-1)
                        for h, p in zip(second, leaves, strict=True)
                    ]
                )
            )
        return torch.stack(columns, dim=1)
