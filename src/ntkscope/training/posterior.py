"""A Gaussian process with any kernel as its covariance, conditioned on targets: one factor and what follows."""

from __future__ import annotations

import math
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.engines.engine import Engine
from ntkscope.kernels.given import as_kernel
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.report.result import Shown
from ntkscope.training.factors import DenseFactor, Factor, NotPositiveDefiniteError, TiledFactor
from ntkscope.training.labels import as_real, require_own_kernel

_PANEL = 1 << 24  # entries of the cross kernel that a prediction holds at a time
_U = torch.finfo(torch.float64).eps / 2


def gamma(n: int) -> float:
    """n u / (1 − n u) of float64."""
    return n * _U / (1 - n * _U)


class KernelPosterior(Shown):
    """f ~ GP(prior, K) given y_i = f(x_i) + N(0, ridge), which is kernel ridge regression about the prior.

    Parameters
    ----------
    K: a symmetric :class:`Kernel` or matrix on the N training samples. Where its rows are pairs
        ("sample", "output"), the outputs of a sample are correlated; otherwise columns of the targets
        are independent with one covariance.
    targets: (N,) or (N, C).
    ridge: variance of the noise, ≥ 0.
    prior: mean before the data at the training samples, of the targets' shape; 0 by default.
    engine: factor in tiles on disk, by local processes or a cluster, which share the solves too.
    folder: where the tiles lie, on a disk that every worker sees; with an engine.

    Attributes
    ----------
    targets: y, (N, C). residual: y − prior in the kernel's rows, (rows, columns).
    factor: of K + ridge = L Lᵀ, float64, on the CPU. solution: (K + ridge)⁻¹ (y − prior), (rows, columns).

    Raises
    ------
    TypeError
        For targets or a ridge that are no numbers.
    ValueError
        For targets that do not fit K, several columns of them with a kernel of several outputs' sum, a negative ridge, or K + ridge that is not positive definite in
        floating point.
    NotEnoughMemoryError
        Where the matrix and its factor do not fit.
    """

    def __init__(
        self,
        K: Any,
        targets: Any,
        ridge: float = 0.0,
        prior: Any = None,
        *,
        engine: Engine | None = None,
        folder: str | Path | None = None,
    ) -> None:
        kernel = as_kernel(K)
        kernel._require_symmetric("posterior")
        self.ridge, self.rows = as_ridge(ridge), len(kernel)
        R = self.rows
        values = _columns(targets, "targets")
        self.targets, (self.n_samples, self.n_outputs) = values, values.shape
        paired = len(kernel.labels) > 1
        if (values.numel() if paired else self.n_samples) != R:
            raise ValueError(
                f"targets of shape {tuple(values.shape)} do not fit a kernel of {R} rows"
                + (", one for each sample and output" if paired else ", one for each sample")
                + ("; classes go in as one_hot(targets)" if paired and self.n_outputs == 1 else "")
            )
        require_own_kernel(kernel, self.n_outputs)
        self.block = self.n_outputs if paired else 1  # rows of one sample
        if prior is not None:
            start = _columns(prior, "prior")
            if start.shape != values.shape:
                raise ValueError(
                    f"the prior has shape {tuple(start.shape)}, the targets {tuple(values.shape)}"
                )
            values = values - start
        self.residual = self._as_rows(values)
        self.factor = self._factored(kernel, engine, folder)
        self.solution = self.factor.solve(self.residual)

    def to_dict(self) -> dict[str, Any]:
        """Sizes and errors in plain values; predictions are in :meth:`mean` and :meth:`deviation`."""
        return {
            "n_samples": self.n_samples, "n_outputs": self.n_outputs, "ridge": self.ridge,
            "rows": self.rows, "backward_error": self.backward_error,
            "inverse_norm": self.inverse_norm,
        }  # fmt: skip

    def __repr__(self) -> str:
        sizes = f"{self.n_samples} samples, {self.n_outputs} outputs"
        return f"KernelPosterior({sizes}, ridge={self.ridge:g})"

    def _factored(self, kernel: Kernel, engine: Engine | None, folder: str | Path | None) -> Factor:
        own = kernel.diagonal().to("cpu", torch.float64)
        self.kernel_trace, self.semidefinite = float(own.sum()), kernel.semidefinite
        forming = kernel.forming_error()
        if isinstance(kernel, MatrixKernel):
            forming += kernel.asymmetry  # the factor reads one half
        R, diagonal = len(kernel), own + self.ridge
        try:
            if engine is None:
                factor: Factor = DenseFactor(kernel, self.ridge)
            else:
                factor = TiledFactor(kernel, self.ridge, engine, folder)
        except NotPositiveDefiniteError as error:
            raise ValueError(
                f"kernel + ridge is not positive definite at ridge={self.ridge}: {error}; use a "
                "larger ridge or remove duplicate rows"
            ) from None
        self._backward = forming + factor.roundings * _U * float(diagonal.abs().max())
        trace = float(diagonal.sum())
        self._backward += gamma(3 * R + 1) * trace / (1 - gamma(R + 1)) * (1 + (R + 4) * _U)
        return factor

    @property
    def backward_error(self) -> float:
        """ε with (K + ridge + Δ) x̂ = b and ‖Δ‖₂ ≤ ε for what the factor solves.

        |Δ| ≤ γ_{3N+1} |L||Lᵀ| (Higham, Accuracy and Stability, Theorem 10.4), whose norm is at most the
        trace's; to that come the kernel's own forming error, a matrix's asymmetry and the ridge's rounding.
        """
        return self._backward

    def _as_rows(self, values: Float[Tensor, "N C"]) -> Tensor:
        return values.reshape(-1, 1) if self.block > 1 else values

    def as_outputs(self, rows: Tensor) -> Float[Tensor, "N C"]:
        """(rows, columns) of the kernel as (samples, outputs)."""
        return rows.reshape(-1, self.n_outputs)

    @cached_property
    def inverse_parts(self) -> tuple[Float[Tensor, "N B B"], Float[Tensor, R]]:
        """Of (K + ridge)⁻¹, each column solved for by itself: the blocks of samples, the columns' norms."""
        return self.factor.inverse_parts(self.block)

    @cached_property
    def inverse_norm(self) -> float:
        """An upper bound on ‖M‖₂, M = (K + ridge)⁻¹; infinite where rounding hides whether it exists.

        1/ridge where K is known to be semi-definite; else from M̂ − M = −M Δ M̂, column by column, so that
        ‖M‖ ≤ ‖M̂‖_F / (1 − ε ‖M̂‖_F).
        """
        if self.semidefinite and self.ridge > 0:
            return 1 / self.ridge * (1 + 2 * _U)
        found = float(torch.linalg.vector_norm(self.inverse_parts[1])) * (1 + gamma(self.rows**2))
        lost = self.backward_error * found
        return found / (1 - lost) * (1 + 8 * _U) if lost < 1 else math.inf

    @cached_property
    def column_norms(self) -> Float[Tensor, R]:
        """Upper bounds on ‖(K + ridge)⁻¹ e_j‖ of the exact inverse."""
        norms = self.inverse_parts[1] * (1 + gamma(self.rows + 2))
        return norms * (1 + self.backward_error * self.inverse_norm)

    # -- predictions -----------------------------------------------------------------------------

    def panels(self, cross: Kernel, chunk_size: int | None) -> list[slice]:
        """Spans of the cross kernel's rows, whole samples each. Raises ValueError where it does not fit."""
        if cross.shape[1] != self.rows:
            raise ValueError(
                f"the cross kernel has {cross.shape[1]} columns for {self.rows} training rows"
            )
        if chunk_size is not None and (isinstance(chunk_size, bool) or chunk_size < 1):
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size!r}")
        fits = max(1, _PANEL // (self.rows * self.block))
        step = (chunk_size or fits) * self.block
        return [slice(i, min(i + step, len(cross))) for i in range(0, len(cross), step)]

    def mean(
        self, cross: Any, prior: Any = None, chunk_size: int | None = None
    ) -> Float[Tensor, "M C"]:
        """E f(x) = prior(x) + k(x, X) (K + ridge)⁻¹ (y − prior) at M samples.

        ``cross``: their kernel with the training samples, (M, N), read ``chunk_size`` samples at a time.
        """
        cross = as_kernel(cross)
        made = [
            cross.tile(rows, slice(0, cross.shape[1])).to(self.solution) @ self.solution
            for rows in self.panels(cross, chunk_size)
        ]
        mean = self.as_outputs(torch.cat(made))
        return mean if prior is None else mean + _columns(prior, "prior").to(mean)

    def deviation(
        self, cross: Any, own: Tensor, chunk_size: int | None = None, entry_error: float = 0.0
    ) -> Float[Tensor, "M C"]:
        """√(k(x, x) − k(x, X) (K + ridge)⁻¹ k(X, x)): of the function, without the noise.

        ``own``: k(x, x) for each row of ``cross``; ``entry_error``: of that. Variances within rounding
        of 0 are 0.

        Raises ValueError for a variance below 0 beyond rounding, and where rounding hides them all.
        """
        cross = as_kernel(cross)
        self.require_resolved()
        own = own.to(self.solution)
        parts = []
        entries = max(entry_error, cross.entry_error())
        for rows in self.panels(cross, chunk_size):
            tile = cross.tile(rows, slice(0, cross.shape[1])).to(self.solution)
            white = self.factor.forward(tile.T)
            explained = torch.linalg.vecdot(white, white, dim=0)
            parts.append(
                nonnegative(own[rows] - explained, self._noise(own[rows], explained, entries))
            )
        spread = torch.cat(parts).sqrt()
        if self.block > 1:
            return self.as_outputs(spread)
        return spread[:, None].expand(-1, self.n_outputs)

    def _noise(self, own: Tensor, explained: Tensor, entries: float) -> Tensor:
        """What rounding may do to own − kᵀMk: kᵀ(M̂ − M)k, an error γ√(k_ii k_jj) of k, and the sums."""
        m, n = self.inverse_norm, self.rows
        moved = entries * (own.clamp_min(0) * self.kernel_trace * m).sqrt()
        inner = self.backward_error * m * explained
        sums = gamma(2 * n + 8) * (own.abs() + explained)
        return 1.01 * (inner + 2 * moved * explained.sqrt() + moved**2) + entries * own.abs() + sums

    def require_resolved(self) -> None:
        """Raise ValueError where rounding hides the inverse of K + ridge."""
        if not self.backward_error * self.inverse_norm < 1:
            raise ValueError(
                f"rounding of {self.backward_error:.2g} in kernel + ridge hides its inverse; use a "
                f"ridge well above it (now {self.ridge:g}) or remove near-duplicate rows"
            )

    @property
    def amplitude(self) -> float:
        """√(rᵀ(K + ridge)⁻¹r / n), r = y − prior: the s at which (s²K, s² ridge) make y most likely.

        Deviations times it are those of that scale; the mean is the same (Rasmussen and Williams 2006,
        §5.4.1).
        """
        fit = float((self.residual * self.solution).sum())
        return math.sqrt(max(0.0, fit) / self.residual.numel())


def as_ridge(ridge: Any) -> float:
    """Raises TypeError for what is no number, ValueError for one below 0 or not finite."""
    if isinstance(ridge, (np.ndarray, Tensor)) and ridge.ndim == 0:
        ridge = ridge.item()
    if isinstance(ridge, bool) or not isinstance(ridge, Real):
        raise TypeError(f"ridge must be a number, such as 1e-6, got {ridge!r}")
    made = float(ridge)
    if not (math.isfinite(made) and made >= 0):
        raise ValueError(f"ridge must be at least 0 and finite, got {ridge}")
    return made


def nonnegative(variance: Tensor, noise: Tensor) -> Tensor:
    """Variances with those within ``noise`` below 0 as 0. Raises ValueError for others below 0."""
    if bool((variance < -noise).any()):
        raise ValueError(
            f"a predicted variance is {float(variance.min()):.3g} < 0 beyond rounding: "
            "the kernel is not positive semi-definite"
        )
    return variance.clamp_min(0.0)


def _columns(values: Any, name: str) -> Float[Tensor, "N C"]:
    """Finite float64 numbers as columns."""
    made = as_real(values, name)
    if made.ndim not in (1, 2) or not made.numel():
        raise ValueError(f"{name} must be (N,) or (N, C), got shape {tuple(made.shape)}")
    return made if made.ndim == 2 else made[:, None]
