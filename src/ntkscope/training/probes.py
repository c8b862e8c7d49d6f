"""What is measured along training: λ_min and λ_max of K_t, and how far K, J and θ have moved."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.mlp import Backprop, backprop
from ntkscope.networks.mlp import MLP
from ntkscope.report.result import Result
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.smallest import status_of


@dataclass(frozen=True)
class Probe(Result):
    """One measurement at step ``step``.

    lambda_min, lambda_max: of K_t, with their errors. drift: ‖K_t − K_0‖_F/‖K_0‖_F.
    distance: ‖θ_t − θ_0‖₂. jacobian_change: ‖J(θ_t) − J(θ_0)‖_op. loss: ½‖F(θ_t) − Y‖².
    """

    step: int
    loss: float
    lambda_min: Eigenvalue
    lambda_max: Eigenvalue
    drift: float
    distance: float
    jacobian_change: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Probe:
        """The probe that ``to_dict`` wrote."""
        ends = {name: _eigenvalue(values[name]) for name in ("lambda_min", "lambda_max")}
        return cls(**{**values, **ends})


def _eigenvalue(values: dict[str, Any]) -> Eigenvalue:
    plain = {k: v for k, v in values.items() if k != "advice"}
    return Eigenvalue(**{**plain, "status": Status[values["status"]]})


def extremes(K: Kernel, matrix: Tensor) -> tuple[Eigenvalue, Eigenvalue]:
    """(λ_min, λ_max) of ``K``, whose dense form is ``matrix``, from all eigenvalues (LAPACK)."""
    start = time.perf_counter()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    seconds = time.perf_counter() - start
    return tuple_of_extremes(K, eigenvalues, seconds)


def tuple_of_extremes(
    K: Kernel, eigenvalues: Float[Tensor, N], seconds: float
) -> tuple[Eigenvalue, Eigenvalue]:
    """The two ends of a computed spectrum as intervals: forming error and N·u·λ_max."""
    unit = torch.finfo(eigenvalues.dtype).eps / 2
    bar = K.forming_error() + len(K) * unit * float(eigenvalues.abs().max())
    ends = []
    for end in (0, -1):
        value = float(eigenvalues[end])
        ends.append(
            Eigenvalue(
                value, value - bar, value + bar,
                status_of(value, bar, len(K), K.n_parameters if end == 0 else None),
                "eigvalsh, backward error N·u·λ_max", "the kernel of the stored factors", seconds,
            )
        )  # fmt: skip
    return ends[0], ends[1]


class Start:
    """θ_0 and its kernel, which later points are compared with."""

    def __init__(self, model: MLP, X: Float[Tensor, "N d"], F: Float[Tensor, N]) -> None:
        N = len(X)
        self.X = X
        self.theta = [p.detach().clone() for p in model.parameters()]
        self.scales = [s * s for s in model.network.scales]
        self.passed = backprop(model, X, [0])
        self.kernel = empirical_ntk(model, X)
        memory.require(
            6.0 * self.kernel.nbytes_dense, f"the spectrum of an N = {N} kernel along training",
            "use fewer samples",
        )  # fmt: skip
        self.matrix = self.kernel.dense()
        self.norm = float(torch.linalg.matrix_norm(self.matrix))
        start = time.perf_counter()
        self.eigenvalues, self.modes = torch.linalg.eigh(self.matrix)
        self.ends = tuple_of_extremes(self.kernel, self.eigenvalues, time.perf_counter() - start)
        self.outputs = F.clone()

    def coefficients(self, residual: Float[Tensor, N]) -> Float[Tensor, N]:
        """Uᵀr, the residual in the eigenvectors of K_0."""
        return self.modes.T @ residual

    def probe(self, model: MLP, step: int, loss: float) -> Probe:
        """Measure ``model`` at step ``step``."""
        if step == 0:
            return Probe(0, loss, *self.ends, 0.0, 0.0, 0.0)
        kernel = empirical_ntk(model, self.X)
        matrix = kernel.dense()
        ends = extremes(kernel, matrix)
        drift = float(torch.linalg.matrix_norm(matrix.sub_(self.matrix))) / self.norm
        moved = sum(
            float(torch.linalg.vector_norm(p.detach() - q) ** 2)
            for p, q in zip(model.parameters(), self.theta, strict=True)
        )
        change = jacobian_change(
            self.passed, backprop(model, self.X, [0]), self.scales, bool(len(model.biases))
        )
        return Probe(step, loss, *ends, drift, math.sqrt(moved), change)


def jacobian_change(
    before: Backprop, after: Backprop, squared_scales: list[float], biases: bool
) -> float:
    """‖J_t − J_0‖_op from the factors of both, without the cancellation of K_t − 2K_t0 + K_00.

    A row of layer k is F ⊗ B, and F_t⊗B_t − F_0⊗B_0 = ΔF⊗B_t + F_0⊗ΔB, so the Gram matrix of the
    differences is a sum of Hadamard products of differences.
    """
    N = len(before.features[0])
    gram = before.features[0].new_zeros(N, N)
    for k, scale in enumerate(squared_scales):
        f0, f1 = before.features[k], after.features[k]
        b0, b1 = before.signals[k][0], after.signals[k][0]
        df, db = f1 - f0, b1 - b0
        cross = (df @ f0.T) * (b1 @ db.T)
        own = (df @ df.T) * (b1 @ b1.T) + (f0 @ f0.T) * (db @ db.T)
        gram += scale * (own + cross + cross.T)
        if biases:
            gram += db @ db.T
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram)[-1])))


@dataclass(frozen=True)
class Condition21(Result, also=("holds", "within_radius")):
    """Bombari et al. 2022, eq. 21, on the points visited (the theorem asks for the whole ball).

    alpha: the smallest σ_min(J), beta: the largest ‖J‖_op, change: the largest ‖J(θ_t) − J(θ_0)‖_op,
    allowed: α²/(2β), radius: R = 4‖F(θ_0) − Y‖/α, distance: the largest ‖θ_t − θ_0‖.
    """

    alpha: float
    beta: float
    change: float
    allowed: float
    radius: float
    distance: float

    @property
    def holds(self) -> bool:
        """Whether no visited point contradicts the condition; False refutes it, True does not prove it."""
        return self.change <= self.allowed

    @property
    def within_radius(self) -> bool:
        """Whether every visited point lies in the ball of radius R."""
        return self.distance <= self.radius


def condition_21(probes: list[Probe]) -> Condition21:
    """Condition 21 over the probes; α = 0 (and R infinite) where λ_min is not above its error."""
    lowest = min(p.lambda_min.value if p.lambda_min.status.trustworthy else 0.0 for p in probes)
    alpha = math.sqrt(max(0.0, lowest))
    beta = math.sqrt(max(p.lambda_max.value for p in probes))
    start = math.sqrt(2.0 * probes[0].loss)
    return Condition21(
        alpha, beta, max(p.jacobian_change for p in probes),
        alpha**2 / (2.0 * beta) if beta else 0.0,
        4.0 * start / alpha if alpha else math.inf,
        max(p.distance for p in probes),
    )  # fmt: skip
