"""σ_min of a feature matrix; its condition number is squared only where the accuracy allows."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.progress import Stage
from ntkscope.spectra.proof.certify import Shifted, cholesky_bound
from ntkscope.spectra.rounding import TINY, U, accurate_product, down_to, gamma, up, up_to
from ntkscope.spectra.solvers.krylov import block_lanczos, norm_estimate, random_block
from ntkscope.spectra.storage.panels import Panels
from ntkscope.spectra.storage.source import as_source

_GRAM_LIMIT = 1e5  # condition number up to which the Gram matrix keeps five digits of σ_min
_BLOCK = 8192


def smallest_singular_value(F: Any, *, certify: bool = True) -> Eigenvalue:
    """σ_min of an (m, n) matrix, the smallest of its min(m, n) singular values, with its interval.

    R of A = QR (A = F, or Fᵀ where F is wide) comes from the Cholesky factor of the Gram matrix
    where the condition number allows, otherwise from QR in blocks of rows (TSQR). With X ≈ R⁻¹,
    σ_min(A) ≥ (√(1 − ‖YᵀY − I‖) − ‖AX − Y‖)/‖X‖, Y = fl(AX): each norm is bounded with its rounding,
    ‖X‖ by a Cholesky factorisation. Upper bound: ‖Av‖/‖v‖.

    The result's ``vector`` is the singular vector on the shorter side.

    Parameters
    ----------
    F: an (m, n) tensor or array.
    certify: prove a lower bound.

    Returns
    -------
    Eigenvalue whose value is σ_min, with its interval.

    Raises ValueError for an array that is not a finite matrix, NotEnoughMemoryError.
    """
    begin = time.perf_counter()
    data = as_data(F, "F")
    unit = torch.finfo(data.dtype).eps / 2
    A = data.to(torch.float64)
    A = A if A.shape[0] >= A.shape[1] else A.T.contiguous()
    m, n = A.shape
    memory.require(
        8 * n * (6 * n + m), f"σ_min of a {m}×{n} matrix", "use fewer features or fewer samples"
    )
    _require_scale(A)
    R, method = _triangle(A)
    v, X, solves = _lowest_vector(R)
    value, upper = _quotient(A, v)
    lower = 0.0
    if certify and X is not None:
        lower = max(0.0, _lower_bound(A, X))
    noise = unit * float(torch.linalg.vector_norm(A.abs() @ v.abs()))
    if lower > 0 and value > noise:
        status = Status.OK
    elif not certify and value > max(noise, n * U * float(torch.linalg.vector_norm(A))):
        status = Status.ESTIMATE
    else:
        status = Status.BELOW_NOISE
    residual = float(torch.linalg.vector_norm(A.T @ (A @ v) - value * value * v))
    return Eigenvalue(
        value=value, lower=lower, upper=upper, status=status,
        method=method + ("; lower bound by orthogonalisation" if lower > 0 else ""),
        covers="the stored matrix", seconds=time.perf_counter() - begin, vector=v,
        residual=residual, matvecs=solves,
        note="value, interval and residual ‖AᵀAv − σ²v‖ are of a singular value",
    )  # fmt: skip


def _require_scale(A: Tensor) -> None:
    largest = float(A.abs().max())
    if largest > 1e100 or 0 < largest < 1e-100:
        raise ValueError(
            f"the entries of F reach {largest:.3g}, where products overflow or underflow; multiply "
            "F by a power of two that brings them near 1, and divide the result by it"
        )


def _triangle(A: Tensor) -> tuple[Tensor, str]:
    """An upper triangular R with RᵀR ≈ AᵀA, and how it was found."""
    gram = torch.zeros(A.shape[1], A.shape[1], dtype=A.dtype, device=A.device)
    for rows in A.split(_BLOCK):
        gram.addmm_(rows.T, rows)
    L, info = torch.linalg.cholesky_ex(gram)
    if int(info) == 0:
        inverse = torch.linalg.solve_triangular(L, torch.eye(len(L), dtype=L.dtype, device=L.device),
                                                upper=False)  # fmt: skip
        size = float(torch.linalg.vector_norm(L) * torch.linalg.vector_norm(inverse))
        if size <= _GRAM_LIMIT:
            return L.T.contiguous(), "Cholesky of the Gram matrix + inverse Lanczos"
    return tall_qr(A), "QR in blocks + inverse Lanczos"


def tall_qr(A: Tensor) -> Tensor:
    """R of a tall matrix, by QR of blocks of rows stacked on the R so far."""
    n = A.shape[1]
    R = torch.zeros(0, n, dtype=A.dtype, device=A.device)
    for rows in A.split(max(_BLOCK, 4 * n)):
        R = torch.linalg.qr(torch.cat([R, rows]), mode="r")[1]
    return R


def _lowest_vector(R: Tensor) -> tuple[Tensor, Tensor | None, int]:
    """The last right singular vector of R, R⁻¹ where it is finite, and the products it took."""
    n = len(R)
    eye = torch.eye(n, dtype=R.dtype, device=R.device)
    X = torch.linalg.solve_triangular(R, eye, upper=True)
    size = float(X.abs().max())
    if not size < 1e150:
        return torch.linalg.svd(R)[2][-1], None, 0
    if n <= 256:
        return torch.linalg.svd(X)[0][:, 0], X, 0
    scaled = X / size  # its square stays in range

    def done(values: Tensor, residuals: Tensor) -> bool:
        gap = float(values[0] - values[1]) if len(values) > 1 else 0.0
        first, small = float(residuals[0]), 1e-14 * float(values[0])
        return first <= small or (gap > 0 and first * first <= small * gap)

    found = block_lanczos(
        lambda V: scaled @ (scaled.T @ V), random_block(n, 2, R.device), done,
        keep=1, max_columns=min(n, 600),
    )  # fmt: skip
    v = found.vectors[:, 0]
    v = scaled @ (scaled.T @ v)
    return v / torch.linalg.vector_norm(v), X, found.products + 1


def _product(A: Tensor, V: Tensor) -> tuple[Tensor, float]:
    """fl(AV), and a bound on ‖AV − fl(AV)‖_F.

    A plain product where its a priori error is small enough, otherwise with twice the digits.
    """
    m, n = A.shape
    plain = float(torch.linalg.vector_norm(A) * torch.linalg.vector_norm(V)) * gamma(n + 4)
    if plain <= 1e-7:
        return A @ V, up(plain * 1.001 + TINY)
    parts, errors = [], 0.0
    for columns in V.split(512, dim=1):
        made = accurate_product(lambda i, j: A[i:j], n, columns, n_rows=m)
        parts.append(made.high + made.low)
        errors += float(torch.linalg.vector_norm(made.error)) ** 2
    Y = torch.cat(parts, dim=1)
    return Y, up(math.sqrt(errors) + 2 * U * float(torch.linalg.vector_norm(Y)) * 1.001 + TINY)


def _quotient(A: Tensor, v: Tensor) -> tuple[float, float]:
    """‖Av‖/‖v‖ and an upper bound on it."""
    m, n = A.shape
    made = accurate_product(lambda i, j: A[i:j], n, v[:, None], n_rows=m)
    y = (made.high + made.low)[:, 0]
    size = float(torch.linalg.vector_norm(v))
    value = float(torch.linalg.vector_norm(y)) / size
    slack = (float(made.error[0]) / size + TINY) * 1.001
    return value, up_to(value + up(slack + (m + n + 8) * U * value))


def _lower_bound(A: Tensor, X: Tensor) -> float:
    """A lower bound on σ_min(A), for any square X; 0 if it proves none."""
    m, n = A.shape
    scale = 2.0 ** -math.frexp(float(torch.linalg.vector_norm(X)))[1]
    X = X * scale  # exact; brings ‖X‖ near 1, A with it below
    A = A / scale
    Y, lost = _product(A, X)
    gram = Y.T @ Y
    rounding = gamma(m + 2) * float(torch.linalg.vector_norm(Y)) ** 2 * 1.001
    gram.diagonal().sub_(1.0)
    skew = up(float(torch.linalg.vector_norm(gram)) * 1.001 + rounding + 2 * U * n)
    size = _norm_above(X)
    if skew >= 1 or size is None:
        return 0.0
    sigma = down_to(math.sqrt(down_to(1 - skew)) * (1 - 2 * U)) - lost
    # of A/scale; dividing by ‖X‖ and multiplying by scale is exact but for one rounding
    return down_to(down_to(sigma) / size * (1 - 2 * U)) * scale


def _norm_above(X: Tensor) -> float | None:
    """An upper bound on ‖X‖₂, close to it: Cholesky of ρI − XᵀX."""
    n = len(X)
    gram = X.T @ X
    gram = (gram + gram.T) / 2
    lost = up(gamma(n + 4) * float(torch.linalg.vector_norm(X)) ** 2 * 1.001)
    top = _largest(gram)
    source = as_source(gram)
    for margin in (1e-10, 1e-6, 1e-2, 1.0):
        shifted = Shifted(source, -top * (1 + margin), -1.0)
        bound = cholesky_bound(shifted, Panels.empty(n), lambda name: Stage(name, None))
        if bound is not None:
            return up_to(math.sqrt(up_to(-bound + lost)))
    return None


def _largest(gram: Tensor) -> float:
    if len(gram) <= 256:
        return float(torch.linalg.matrix_norm(gram, 2))
    return norm_estimate(lambda V: gram @ V, len(gram), gram.device, steps=300, tolerance=1e-8)
