"""What a spectrum promises of gradient descent: mode by mode, and as one geometric rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.report.result import Result


def linearised_modes(
    eigenvalues: Float[Tensor, N],
    coefficients: Float[Tensor, N],
    eta: float,
    steps: Sequence[int],
    momentum: float = 0.0,
) -> Float[Tensor, "T N"]:
    """Residual coefficients Uᵀ(F_t − Y) at ``steps`` for the network linearised at θ_0.

    Gradient descent multiplies mode i by (1 − ηλ_i) a step; with heavy-ball momentum μ it follows
    v ← μv + c, c ← c − ηλv.
    """
    if momentum == 0.0:
        factor = 1.0 - eta * eigenvalues
        return torch.stack([coefficients * factor**t for t in steps])
    c, v, out, wanted = coefficients.clone(), torch.zeros_like(coefficients), {}, set(steps)
    for t in range(max(steps) + 1):
        if t in wanted:
            out[t] = c.clone()
        v = momentum * v + c
        c = c - eta * eigenvalues * v
    return torch.stack([out[t] for t in steps])


def linearised_loss(modes: Float[Tensor, "T N"]) -> Float[Tensor, T]:
    """½‖r_t‖² of the linearised residuals."""
    return 0.5 * (modes**2).sum(dim=1)


@dataclass(frozen=True)
class Rate(Result, also=("contraction",)):
    """L(θ_t) ≤ (1 − c·unit)^t L(θ_0) with the largest c that every observed step allows.

    unit: the step size times what λ_min stands for; constant: c; steps: how many steps it was
    fitted on (those above the loss's rounding level).
    """

    name: str
    unit: float
    constant: float
    steps: int

    @property
    def contraction(self) -> float:
        """The factor a step, 1 − c·unit."""
        return 1.0 - self.constant * self.unit

    def bound(self, start: float, steps: Float[Tensor, T]) -> Float[Tensor, T]:
        """The right-hand side at ``steps``."""
        return start * self.contraction**steps


def fit_rate(
    name: str, unit: float, steps: Float[Tensor, T], losses: Float[Tensor, T], floor: float
) -> Rate:
    """The largest c for which (1 − c·unit)^t L_0 bounds every observed loss above ``floor``."""
    used = (steps > 0) & (losses > floor) & torch.isfinite(losses)
    count = int(used.sum())
    if count == 0 or not unit > 0 or not float(losses[0]) > 0:
        return Rate(name, unit, math.nan, count)
    # 1 − (L_t/L_0)^{1/t} by expm1: the rate may be far below 1
    per_step = -torch.expm1(torch.log(losses[used] / losses[0]) / steps[used])
    return Rate(name, unit, float(per_step.min()) / unit, count)
