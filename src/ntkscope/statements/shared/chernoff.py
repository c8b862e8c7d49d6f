"""The matrix Chernoff bound behind Lemma 5.2, with every constant explicit.

For columns a_j = φ(F w_j), j = 1 … n, keep those with ‖a_j‖ ≤ t. Tropp 2012, Theorem 1.1 at ε = 1/2:
P(λ_min(Σ a_j a_jᵀ) ≤ n λ̂/2) ≤ N ((e^{-1/2}/(1/2)^{1/2}))^{n λ̂/t²}, where λ̂ ≥ λ − E‖a‖² 1{‖a‖ > t}.
For λ̂ ≥ λ/2 this is the lemma's n λ/4.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ntkscope.activations.activation import Activation

LOG_RATE = -0.5 * (math.log(2.0) - 1.0)  # −log(e^{-1/2} √2) = (1 − log 2)/2


class Tail:
    """Bounds for a = φ(F w), w ~ N(0, β² I): a Lipschitz function of a Gaussian vector.

    ‖a‖ is Mβ‖F‖_op-Lipschitz in w/β, so P(‖a‖ > m + s) ≤ exp(−s²/2M²β²‖F‖²_op) with
    m ≥ E‖a‖; here m = √N|φ(0)| + Mβ‖F‖_F, and β‖F‖_F √(p² + q²) for φ(z) = p z + q|z|.
    """

    def __init__(self, F: Tensor, beta: float, lam: float, phi: Activation) -> None:
        slope = phi.lipschitz if phi.lipschitz is not None else math.inf
        frobenius = float(F.norm())
        self.N, self.lam = len(F), lam
        self.width = slope * beta * float(torch.linalg.matrix_norm(F, 2))
        self.mean = math.sqrt(len(F)) * abs(phi.at_zero) + slope * beta * frobenius
        if (parts := phi.homogeneous_parts) is not None:
            self.mean = beta * frobenius * math.hypot(*parts)

    def truncated(self, s: float) -> float:
        """A bound on E‖a‖² 1{‖a‖ > m + s}."""
        t, a = self.mean + s, self.width
        decay = math.exp(-0.5 * (s / a) ** 2)
        integral = 2 * self.mean * a * math.sqrt(math.pi / 2) * math.erfc(s / (a * math.sqrt(2)))
        return t * t * decay + integral + 2 * a * a * decay

    def _options(self) -> list[tuple[float, float]]:
        """(t², a lower bound on λ̂) over a grid of truncations that keep λ̂ ≥ λ/2."""
        if not math.isfinite(self.width) or self.width == 0:
            return []
        found = []
        for s in self.width * np.linspace(0.5, 12.0, 64):
            kept = self.lam - self.truncated(float(s))
            if kept >= 0.5 * self.lam:
                found.append(((self.mean + float(s)) ** 2, kept))
        return found

    def failure(self, n: int) -> float:
        """A bound on P(σ_min² < n λ/4); 1 where it says nothing."""
        exponents = [n * kept / t_sq * LOG_RATE for t_sq, kept in self._options()]
        return min(1.0, min((self.N * math.exp(-e) for e in exponents), default=1.0))

    def sufficient_width(self, delta: float) -> float:
        """The n from which ``failure(n) ≤ δ``."""
        rates = [kept / t_sq * LOG_RATE for t_sq, kept in self._options()]
        return math.log(self.N / delta) / max(rates) if rates else math.inf
