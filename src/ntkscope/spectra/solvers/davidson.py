"""λ_min from products with K and a preconditioner: an upper bound and an estimate.

Davidson's method with a block and thick restarts; without a preconditioner it is block Lanczos.
No method of this kind can give a lower bound (Kuczyński and Woźniakowski, SIMAX 13, 1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.spectra.eigenvalue import Bound
from ntkscope.spectra.progress import Callback, Stage
from ntkscope.spectra.proof.certify import rayleigh
from ntkscope.spectra.rounding import U, up, up_to
from ntkscope.spectra.solvers.dense import Ends
from ntkscope.spectra.solvers.krylov import block_lanczos, norm_estimate, random_block
from ntkscope.spectra.storage.blas import transposed_product
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import Source

Solve = Callable[[Tensor], Tensor]

_COLUMNS = 320  # of the basis before a restart
_BLOCK = 8  # of the float32 solves: they wait for memory
_START = 4  # vectors that the float64 iteration starts from
_UNIT_32 = 2.0**-24


@dataclass(frozen=True)
class Found:
    """The lowest Ritz pairs, their residual norms and an estimate of the errors of the values."""

    values: list[float]
    vectors: Tensor
    residuals: list[float]
    errors: list[float]
    products: int
    converged: bool


def davidson(
    apply: Solve,
    start: Tensor,
    precondition: Solve | None,
    *,
    k: int,
    tolerance: float,
    noise: float,
    max_products: int,
    stage: Stage,
    shift: float = 0.0,
) -> Found:
    """The k lowest eigenpairs of a symmetric operator, to a relative ``tolerance`` of the values.

    ``precondition`` approximates the inverse of the operator plus ``shift``.
    ``noise`` is the rounding error of a residual; residuals below it count as converged.
    """
    n, p = start.shape
    columns = min(_COLUMNS, n)
    V, AV, m = start.new_empty(n, columns), start.new_empty(n, columns), 0
    H, products = start.new_zeros(columns, columns), 0
    new = torch.linalg.qr(start)[0]
    while True:
        width = new.shape[1]
        V[:, m : m + width] = new
        AV[:, m : m + width] = apply(new.contiguous())
        H[: m + width, m : m + width] = transposed_product(V[:, : m + width], AV[:, m : m + width])
        m, products = m + width, products + width
        theta, S = torch.linalg.eigh(H[:m, :m], UPLO="U")
        keep = min(m, p)
        X, AX = V[:, :m] @ S[:, :keep], AV[:, :m] @ S[:, :keep]
        R = AX - X * theta[:keep]
        T = R if precondition is None else precondition(R)
        found = _estimate(theta, X, R, T if precondition is not None else None, k, products, shift)
        worst = max(
            e / max(abs(v), 1e-300) for e, v in zip(found.errors, found.values, strict=True)
        )
        stage(products / max_products, found.residuals[0])
        enough = worst <= tolerance or max(found.residuals) <= noise
        # a basis of the whole space leaves nothing to add
        if enough or products >= max_products or m >= n:
            return replace(found, converged=enough or m >= n)
        if m + p > columns:
            held = min(m, max(2 * p, columns // 4))
            V[:, :held], AV[:, :held] = V[:, :m] @ S[:, :held], AV[:, :m] @ S[:, :held]
            m = held
            H[:m, :m] = torch.diag(theta[:m])
        new = _orthonormal(T, V[:, :m])[:, : columns - m]


def _estimate(
    theta: Tensor, X: Tensor, R: Tensor, T: Tensor | None, k: int, products: int, shift: float
) -> Found:
    residuals = torch.linalg.vector_norm(R, dim=0)
    values = theta.tolist()
    errors = []
    for i in range(k):
        # Temple's estimate with the next Ritz value, or rᵀM⁻¹r with M near K
        gap = values[k] - values[i] if len(values) > k else 0.0
        norm = float(residuals[i])
        # K⁻¹ ≤ (1 + τ/λ)(K + τI)⁻¹
        widened = 1 + shift / values[i] if values[i] > 0 else math.inf
        error = min(norm, norm * norm / gap) if gap > 0 else norm
        if T is not None and gap > 0:
            quick = float((R[:, i] * T[:, i]).sum()) * max(1.0, values[k] / gap)
            error = min(error, quick) if quick > 0 else error
        if T is not None:
            # some eigenvalue μ has |μ − θ| ≤ μ‖K⁻¹r‖: no gap is needed where the edge is dense
            relative = widened * float(torch.linalg.vector_norm(T[:, i]))
            if relative < 0.5:
                error = min(error, relative / (1 - relative) * abs(values[i]))
        errors.append(error)
    return Found(values[:k], X[:, :k], residuals[:k].tolist(), errors, products, False)


def _orthonormal(T: Tensor, V: Tensor) -> Tensor:
    T = T / torch.linalg.vector_norm(T, dim=0).clamp_min(1e-300)
    for _ in range(3):
        T = torch.linalg.qr(T - V @ transposed_product(V, T))[0]
    return T


def lowest_by_products(
    source: Source,
    k: int,
    *,
    single: bool,
    tolerance: float,
    callback: Callback | None,
    max_products: int | None = None,
) -> Ends:
    """The k smallest eigenvalues without a float64 factorisation.

    ``single`` factors a float32 copy of a kernel as the preconditioner.
    """
    n, device = source.n, source.device
    norm = norm_estimate(source.matmul, n, device)
    precondition, shift, method = None, 0.0, "block Lanczos on products"
    start = random_block(n, max(2, k + 1) if n > 1 else 1, device)[:, :n]
    if single:
        panels, shift = _single_factor(source.kernel, callback)
        method = "Davidson with a float32 Cholesky preconditioner"
        if shift > 0:
            method += f" of K + {shift:.2g} I"

        def precondition(R: Tensor) -> Tensor:
            scale = torch.linalg.vector_norm(R, dim=0).clamp_min(1e-300)
            return panels.solve(R / scale).to(R.dtype) * scale

        start = _lowest_of_factor(panels, max(_START, k + 1), k, tolerance, callback)
    found = davidson(
        source.matmul, start, precondition, k=min(k, n), tolerance=tolerance,
        noise=4 * math.sqrt(n) * U * norm, max_products=max_products or max(2000, 2 * n),
        stage=Stage("Davidson" if single else "block Lanczos", callback), shift=shift,
    )  # fmt: skip
    return as_ends(source, found, norm, method)


def as_ends(source: Source, found: Found, norm: float, method: str, sign: float = 1.0) -> Ends:
    """Pairs of ±K from products, with the upper bounds of their Rayleigh quotients."""
    k = len(found.values)
    values, residuals, upper = found.values, found.residuals, []
    if source.operator or not source.repeatable:
        upper = [v + up(8 * source.n * U * norm) for v in values]
    else:
        exact = rayleigh(source, found.vectors, sign)
        assert exact is not None, "the basis is orthonormal to rounding"
        values, residuals = exact.values, exact.residuals
        upper = [up_to(v + up(e + source.error)) for v, e in zip(values, exact.errors, strict=True)]
    return Ends(
        values=values,
        lower=[0.0 if source.semidefinite and sign > 0 else -math.inf] * k,
        upper=upper,
        vectors=found.vectors / torch.linalg.vector_norm(found.vectors, dim=0),
        residuals=residuals,
        bound=Bound.NONE,
        multiplicity=1,
        solves=found.products,
        converged=found.converged,
        method=method,
        norm=norm,
        estimates=found.errors,
    )


def _lowest_of_factor(
    panels: Panels, keep: int, k: int, tolerance: float, callback: Callback | None
) -> Tensor:
    """The lowest eigenvectors of LLᵀ, an (n, keep) float64 block, by inverse Lanczos in float32.

    A solve with a block costs a tenth of the same number of products through the factors.
    """
    n, stage = panels.n, Stage("inverse Lanczos in float32", callback)
    goal = max(tolerance / 4, 1e-4)

    def done(values: Tensor, residuals: Tensor) -> bool:
        return bool((residuals[:k] <= goal * values[:k]).all())

    device = panels.diagonal().device
    found = block_lanczos(
        panels.solve, random_block(n, min(_BLOCK, n), device).to(torch.float32), done,
        keep=min(keep, n), max_columns=min(_COLUMNS, n),
        report=lambda residual: stage(0.5, residual),
    )  # fmt: skip
    return found.vectors.to(torch.float64)


def _single_factor(kernel: Kernel, callback: Callback | None) -> tuple[Panels, float]:
    """The float32 Cholesky factor of K + τI, τ = 0 or the first of a rising sequence for which it completes."""
    low = kernel.to(torch.float32)
    panels = Panels.empty(len(kernel), torch.float32, kernel.device)
    shift, step = 0.0, _UNIT_32 * kernel.trace() / 16

    def block(i: int, i2: int, j: int, j2: int) -> Tensor:
        made = low.tile(slice(i, i2), slice(j, j2))
        if i == j:
            made.diagonal().add_(shift)
        return made

    while True:
        panels.fill(block, Stage("forming in float32", callback))
        if panels.factor(Stage("float32 Cholesky", callback)):
            return panels, shift
        shift = 6 * shift or step
