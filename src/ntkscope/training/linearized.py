"""What gradient flow and gradient descent do to a network that its kernel describes.

With the loss ½‖f(X) − Y‖² and a kernel that does not move, f_t − Y = e^{−Kt}(f_0 − Y) on the samples
and f_t(x) = f_0(x) − k(x)ᵀ K⁻¹ (1 − e^{−Kt})(f_0 − Y) elsewhere (Lee et al. 2019, eq. 8-9); k steps of
gradient descent replace e^{−Kt} by (1 − ηK)^k. For a mean instead of a sum, divide t or η by N.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.report import plots
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result, Shown
from ntkscope.training.labels import as_real, require_own_kernel


class Matrix(Protocol):
    """A kernel object that can be formed, such as an empirical or a limiting kernel."""

    def dense(self) -> Tensor: ...


@dataclass(frozen=True)
class Outputs(Result):
    """Mean outputs at one time: ``train`` (N, C) on the samples, ``test`` (M, C) or None."""

    train: Tensor
    test: Tensor | None


class LinearizedTraining(Drawn, Shown):
    """Training under a fixed kernel, at any time, from one eigendecomposition.

    Parameters
    ----------
    K: (N, N) kernel on the samples: a tensor or array, or a kernel with ``dense()``.
    Y: (N,) or (N, C) targets; with an (NC, NC) kernel ("full") the output index runs fastest.
    K_test: (M, N) kernel between new inputs and the samples.
    f0, f0_test: outputs at the start, on the samples and the new inputs; 0 if not given.

    Raises ValueError for shapes that do not fit, kernels that are not symmetric, and several columns of targets
    with a kernel that is the sum of several outputs'.
    """

    def __init__(
        self, K: Any, Y: Any, K_test: Any = None, f0: Any = None, f0_test: Any = None
    ) -> None:
        matrix = _dense(K, "K").to(torch.float64)
        if matrix.shape[0] != matrix.shape[1]:
            raise ValueError(
                f"K must be square, got {tuple(matrix.shape)}; cross kernels are K_test"
            )
        memory.require(
            3.1 * 8 * len(matrix) ** 2, f"the eigenvectors of an N = {len(matrix)} kernel",
            "use fewer samples",
        )  # fmt: skip
        off, scale = float((matrix - matrix.T).abs().max()), float(matrix.abs().max())
        if off > 100 * torch.finfo(torch.float64).eps * scale:
            raise ValueError(f"K is not symmetric: entries differ from their mirror by {off:.3g}")
        n = len(matrix)
        self._shape, targets = _targets(Y, n, "Y")
        require_own_kernel(K, targets.shape[1])
        start = torch.zeros_like(targets) if f0 is None else _targets(f0, n, "f0")[1]
        if start.shape != targets.shape:
            raise ValueError(f"f0 has shape {tuple(start.shape)}, Y {tuple(targets.shape)}")
        self.targets, self.start = targets, start
        self.eigenvalues, self._vectors = torch.linalg.eigh(matrix)
        self._residual = self._vectors.T @ (start - targets)
        self._cross: Tensor | None = None
        self._start_test: Tensor | None = None
        if K_test is not None:
            cross = _dense(K_test, "K_test").to(torch.float64)
            if cross.shape[1] != n:
                raise ValueError(f"K_test must have {n} columns, got {tuple(cross.shape)}")
            self._cross = cross @ self._vectors
            zero = targets.new_zeros(len(cross), targets.shape[1])
            self._start_test = (
                zero if f0_test is None else _targets(f0_test, len(cross), "f0_test")[1]
            )
            if self._start_test.shape != zero.shape:
                raise ValueError(
                    f"f0_test has shape {tuple(self._start_test.shape)}, expected {tuple(zero.shape)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The eigenvalues of K and what follows from them, in plain values."""
        return {
            "n_rows": len(self.eigenvalues), "n_outputs": self.targets.shape[1],
            "eigenvalues": self.eigenvalues.tolist(), "max_learning_rate": self.max_learning_rate,
        }  # fmt: skip

    def __repr__(self) -> str:
        rows, outputs = len(self.eigenvalues), self.targets.shape[1]
        return f"LinearizedTraining({rows} rows, {outputs} columns of targets)"

    def _chart(self) -> Chart:
        """The eigenvalues of K."""
        return plots.eigenvalues(self.eigenvalues.tolist())

    @property
    def max_learning_rate(self) -> float:
        """2/λ_max(K): gradient descent on ½‖f − Y‖² diverges from here on."""
        largest = float(self.eigenvalues[-1])
        return 2.0 / largest if largest > 0 else math.inf

    def flow(self, t: float | int) -> Outputs:
        """Gradient flow at time ``t`` ≥ 0, ``math.inf`` included.

        Raises ValueError for t = ∞ with a kernel that is singular to working precision: the limit
        on new inputs is then not determined.
        """
        if not t >= 0:
            raise ValueError(f"t must be at least 0, got {t}")
        if math.isinf(t):
            return self._limit("t = ∞")
        rates = self.eigenvalues * t
        return self._at(torch.exp(-rates), _ratio(-torch.expm1(-rates), self.eigenvalues, float(t)))

    def descent(self, steps: int | float, learning_rate: float) -> Outputs:
        """``steps`` steps of gradient descent, ``math.inf`` included.

        Raises ValueError for a learning rate that is not positive, and for infinitely many steps
        at or above ``max_learning_rate``.
        """
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise ValueError(f"learning_rate must be positive, got {learning_rate}")
        if not steps >= 0 or (math.isfinite(steps) and steps != int(steps)):
            raise ValueError(f"steps must be a whole number of at least 0, got {steps}")
        if math.isinf(steps):
            if learning_rate >= self.max_learning_rate:
                raise ValueError(
                    f"gradient descent diverges at learning_rate={learning_rate:.6g}; it must be "
                    f"below max_learning_rate = {self.max_learning_rate:.6g}"
                )
            return self._limit("infinitely many steps")
        factor = 1.0 - learning_rate * self.eigenvalues
        left = factor**steps
        # 1 − (1 − ηλ)^k keeps its digits for small ηλ through expm1 and log1p
        small = learning_rate * self.eigenvalues < 0.5
        inside = torch.where(small, -learning_rate * self.eigenvalues, 0.0)
        gone = torch.where(small, -torch.expm1(steps * torch.log1p(inside)), 1.0 - left)
        return self._at(left, _ratio(gone, self.eigenvalues, float(learning_rate * steps)))

    def _limit(self, what: str) -> Outputs:
        noise = (
            len(self.eigenvalues) * torch.finfo(torch.float64).eps * self.eigenvalues.abs().max()
        )
        if float(self.eigenvalues[0]) <= float(noise):
            raise ValueError(
                f"{what} is not determined: K is singular to working precision (λ_min = "
                f"{float(self.eigenvalues[0]):.3g}, noise {float(noise):.3g}); take a finite time, "
                "add a ridge to K, or remove duplicate rows"
            )
        zero = torch.zeros_like(self.eigenvalues)
        return self._at(zero, 1.0 / self.eigenvalues)

    def _at(self, left: Tensor, gone: Tensor) -> Outputs:
        """Outputs from e^{−λt} and (1 − e^{−λt})/λ of every eigenvalue."""
        train = self.targets + self._vectors @ (left[:, None] * self._residual)
        test = None
        if self._cross is not None and self._start_test is not None:
            test = self._start_test - self._cross @ (gone[:, None] * self._residual)
        return Outputs(self._form(train), None if test is None else self._form(test))

    def _form(self, values: Tensor) -> Tensor:
        """As the targets came: (N,), (N, C), or (NC, 1) back to (N, C)."""
        return values.reshape(-1, *self._shape) if self._shape else values[:, 0]


def _ratio(gone: Tensor, eigenvalues: Tensor, at_zero: float) -> Tensor:
    """gone/λ, with its limit at λ = 0."""
    safe = torch.where(eigenvalues == 0, 1.0, eigenvalues)
    return torch.where(eigenvalues == 0, at_zero, gone / safe)


def _dense(K: Any, name: str) -> Float[Tensor, "n m"]:
    return K.dense() if hasattr(K, "dense") and callable(K.dense) else as_data(K, name)


def _targets(Y: Any, n: int, name: str) -> tuple[tuple[int, ...], Tensor]:
    """(shape of a sample's outputs, (n, C) columns the kernel acts on)."""
    values = as_real(Y, name)
    if values.ndim == 1 and len(values) == n:
        return (), values[:, None]
    if values.ndim == 2 and len(values) == n:
        return (values.shape[1],), values
    if values.ndim == 2 and values.numel() == n:
        return (values.shape[1],), values.reshape(-1, 1)
    raise ValueError(f"{name} must have {n} rows (or entries in all), got {tuple(values.shape)}")
