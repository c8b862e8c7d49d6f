"""Bombari et al. 2022, §3.1: features and signals less their means, and the five kernels of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.papers.bombari2022.assumptions import setting
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U

_GROUPS = 8  # of reference points, left out in turn for the standard error of sampled means


@dataclass(frozen=True, eq=False)
class Centred:
    """F = F_(L-2), B = B_(L-1) on ``i.rows``, their means over the data, and all five kernels.

    points: the reference points that sampled means are taken over; all of them by default.
    """

    i: Instance
    points: Tensor | None = None

    @cached_property
    def F(self) -> Tensor:
        return self.i.F(self.i.L - 2)[self.i.rows]

    @cached_property
    def B(self) -> Tensor:
        return self.i.B(self.i.L - 1)[self.i.rows]

    @cached_property
    def F_mean(self) -> Tensor:
        mean, exact = self.i.mean_features(self.i.L - 2)
        return mean if exact else self.reference_F.mean(dim=0)

    def _chosen(self, values: Tensor) -> Tensor:
        return values if self.points is None else values[self.points]

    @cached_property
    def reference_F(self) -> Tensor:
        """F_(L-2) on the reference points (M, n_(L-2))."""
        return self._chosen(self.i.reference_pass[0][self.i.L - 2])

    @cached_property
    def reference_B(self) -> Tensor:
        """B_(L-1) = D_L φ′(g_(L-1)) on the reference points (M, n_(L-1))."""
        g = self._chosen(self.i.reference_pass[1][self.i.L - 2])
        alpha = self.i.network.residual or 1.0
        return alpha * self.i.network.activation.derivative(g) * self.i.weight(self.i.L)[:, 0]

    @cached_property
    def B_mean(self) -> Tensor:
        return self.reference_B.mean(dim=0)

    @cached_property
    def Ft(self) -> Tensor:
        """F̃ = F − E F."""
        return self.F - self.F_mean

    @cached_property
    def Bt(self) -> Tensor:
        """B̃ = B − E B."""
        return self.B - self.B_mean

    @cached_property
    def reference(self) -> tuple[Tensor, Tensor]:
        """(F̃, B̃) on the reference points."""
        return self.reference_F - self.F_mean, self.reference_B - self.B_mean

    @cached_property
    def product_mean(self) -> Tensor:
        """E[f̃ ⊗ D_L φ̃′] as a matrix (n_(L-2), n_(L-1))."""
        F, B = self.reference
        return F.T @ B / len(F)

    @cached_property
    def along(self) -> Tensor:
        """⟨f̃_i ⊗ b̃_i, E[f̃ ⊗ b̃]⟩ for every row (N,)."""
        return ((self.Ft @ self.product_mean) * self.Bt).sum(dim=1)

    @property
    def product_mean_sq(self) -> float:
        return float(self.product_mean.square().sum())

    @cached_property
    def _cache(self) -> dict[Any, Any]:
        return {}

    def _held(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def kernel(self, name: str) -> Tensor:
        """``J``, ``F`` (features centred), ``B`` (signals centred), ``FB`` (both), ``full`` (eq. 11),
        ``P`` (both projected orthogonally to their means), ``R`` (those rows to theirs)."""

        def make() -> Tensor:
            N = len(self.F)
            memory.require(24.0 * N * N, "a centred kernel", "use fewer samples")
            if name in ("P", "R"):
                return self._projected(rows=name == "R")
            F = self.Ft if name in ("F", "FB", "full") else self.F
            B = self.Bt if name in ("B", "FB", "full") else self.B
            K = (F @ F.T) * (B @ B.T)
            if name == "full":
                K = K - self.along[:, None] - self.along[None, :] + self.product_mean_sq
            return (K + K.T) / 2

        return self._held(("kernel", name), make)

    def _projected(self, *, rows: bool) -> Tensor:
        """(F̃PF̃ᵀ) ∘ (B̃QB̃ᵀ); with ``rows`` less the part along the rows' mean over the data."""
        F, B = _orthogonal(self.Ft, self.F_mean), _orthogonal(self.Bt, self.B_mean)
        K = (F @ F.T) * (B @ B.T)
        if rows:
            means = self.reference[0], self.reference[1]
            f, b = _orthogonal(means[0], self.F_mean), _orthogonal(means[1], self.B_mean)
            mean = f.T @ b / len(f)
            along = ((F @ mean) * B).sum(dim=1)
            size = float(mean.square().sum())
            K = K - torch.outer(along, along) / size if size > 0 else K
        return (K + K.T) / 2

    @cached_property
    def rounding(self) -> float:
        """‖·‖₂ error of any of the kernels, and of the identities between them.

        A row of J̃ is f̃ ⊗ b̃ − μ; μ is the larger of the two where the row's neurons are dead.
        """
        f = torch.linalg.vector_norm(self.F, dim=1) + torch.linalg.vector_norm(self.F_mean)
        b = torch.linalg.vector_norm(self.B, dim=1) + torch.linalg.vector_norm(self.B_mean)
        length = self.F.shape[1] + self.B.shape[1] + 8
        return 8 * length * U * float((f * b + math.sqrt(self.product_mean_sq)).square().sum())

    def smallest(self, name: str) -> Quantity:
        """λ_min of a kernel, with the error of forming it."""

        def make() -> Quantity:
            found = smallest_eigenvalue(self.kernel(name))
            return Quantity(found.value, found.error + self.rounding)

        return self._held(("λ", name), make)

    def sampled(self, name: str) -> Quantity:
        """λ_min of a kernel with its standard error from the sampled means (jackknife)."""

        def make() -> Quantity:
            value, M = self.smallest(name), len(self.i.reference)
            G = min(_GROUPS, M)
            if G < 2:
                return Quantity(value.value, value.error, math.inf)
            found = []
            for g in range(G):
                rest = Centred(self.i, torch.nonzero(torch.arange(M) % G != g)[:, 0])
                found.append(float(torch.linalg.eigvalsh(rest.kernel(name))[0]))
            mean = sum(found) / G
            variance = (G - 1) / G * sum((x - mean) ** 2 for x in found)
            return Quantity(value.value, value.error, math.sqrt(variance))

        return self._held(("sampled", name), make)

    def difference(self, left: Tensor, right: Tensor) -> Quantity:
        """λ_min(left − right)."""
        found = smallest_eigenvalue(left - right)
        return Quantity(found.value, found.error + 2 * self.rounding)

    def along_mean(self, centred: Tensor, mean: Tensor) -> Tensor:
        """⟨row, mean/‖mean‖⟩; 0 for a zero mean."""
        norm = torch.linalg.vector_norm(mean)
        return centred @ (mean / norm) if float(norm) > 0 else torch.zeros(len(centred)).double()

    @cached_property
    def step_a_loss(self) -> Quantity:
        """max û² ‖B̃‖² + max v̂² ‖F̃‖²: what step (a) may cost."""
        u, v = self.along_mean(self.Ft, self.F_mean), self.along_mean(self.Bt, self.B_mean)
        F, B = (float(torch.linalg.matrix_norm(m, 2)) ** 2 for m in (self.Ft, self.Bt))
        value = float(u.square().max()) * B + float(v.square().max()) * F
        return Quantity(value, 8 * (self.F.shape[1] + self.B.shape[1]) * U * value)

    @cached_property
    def step_b_loss(self) -> Quantity:
        """‖a/m − m1‖², a_i = ⟨f̃_i⊗b̃_i, μ⟩, m = ‖μ‖, μ = E[f̃⊗b̃]: what step (b) may cost."""
        m_sq = self.product_mean_sq
        if m_sq == 0:
            return Quantity(0.0)
        value = float((self.along - m_sq).square().sum()) / m_sq
        return Quantity(value, 8 * (self.F.shape[1] + self.B.shape[1]) * U * value)


def _orthogonal(rows: Tensor, mean: Tensor) -> Tensor:
    """The rows less their part along ``mean``."""
    norm = torch.linalg.vector_norm(mean)
    if float(norm) == 0:
        return rows
    unit = mean / norm
    return rows - torch.outer(rows @ unit, unit)


def centred(i: Instance) -> Centred:
    """The centred quantities of an instance, computed once."""
    return i.held("bombari centred", lambda: Centred(i))


def begin(i: Instance, out: Findings) -> Centred:
    """The assumptions, how expectations were taken, and the centred quantities."""
    setting(i, out)
    out.note(i.reference_note)
    return centred(i)
