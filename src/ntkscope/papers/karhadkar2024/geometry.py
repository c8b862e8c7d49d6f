"""Unit rows, their separation, and the kernel of an instance on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.statements.shared.wide import unit_error, unit_kernel, wide

_ONE_NORM = 1e-12  # how far the rows' norms may lie apart, relative


@dataclass(frozen=True)
class Geometry:
    """Rows scaled to norm 1.

    unit: (N, d). norms: (N,), of the rows as given. separation: δ, the least of ‖x_i − x_k‖ and
    ‖x_i + x_k‖ over i ≠ k. distance: δ′, the least ‖x_i − x_k‖. nearest: the pair of δ′; opposite: the
    pair of the least ‖x_i + x_k‖. error: of both distances.
    """

    unit: Tensor
    norms: Tensor
    separation: float
    distance: float
    nearest: tuple[int, int]
    opposite: tuple[int, int]
    error: float

    @property
    def one_norm(self) -> bool:
        """Whether the rows as given have one norm."""
        low, high = torch.aminmax(self.norms)
        return bool(high <= low * (1 + _ONE_NORM))

    @property
    def delta(self) -> Quantity:
        return Quantity(self.separation, self.error)

    @property
    def delta_prime(self) -> Quantity:
        return Quantity(self.distance, self.error)


def measure(X: Tensor) -> Geometry:
    """The geometry of (N, d) rows in O(N²d) time and O(N²) memory.

    Raises ValueError for fewer than two rows or a row of zeros.
    """
    if len(X) < 2:
        raise ValueError(f"a separation needs two rows, got {len(X)}")
    norms = torch.linalg.vector_norm(X, dim=1)
    if not bool((norms > 0).all()):
        raise ValueError("a row of zeros has no direction; drop it")
    memory.require(24.0 * len(X) ** 2, "the distances of all pairs", "use fewer samples")
    unit = X / norms[:, None]
    apart, nearest = _least(unit, unit)
    across, opposite = _least(unit, -unit)
    error = (X.shape[1] + 8) * U  # of the rows, their differences and the sum of squares
    return Geometry(unit, norms, min(apart, across), apart, nearest, opposite, error)


def _least(A: Tensor, B: Tensor) -> tuple[float, tuple[int, int]]:
    """The least distance of rows i ≠ k. By differences: products cannot see what lies below √u."""
    distances = torch.cdist(A, B, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(math.inf)
    i, k = divmod(int(distances.argmin()), len(B))
    return float(distances[i, k]), (i, k)


def geometry(i: Instance) -> Geometry:
    """Of the instance's data, computed once. Raises NotComputable where there is none."""

    def make() -> Geometry:
        try:
            return measure(i.X)
        except ValueError as reason:
            raise NotComputable(str(reason)) from None

    return i.held("karhadkar geometry", make)


def require_separated(i: Instance, out: Findings) -> Geometry:
    """The hypotheses on the data: one norm, no repeated and no antipodal rows."""
    found = geometry(i)
    low, high = (float(x) for x in torch.aminmax(found.norms))
    note = "" if found.one_norm else f"norms from {low:.4g} to {high:.4g}; --scale makes them one"
    out.hypothesis("the rows lie on one sphere", found.one_norm, high / low, 1.0, note=note)
    apart = found.separation > found.error
    note = "" if apart else "two rows are equal or antipodal up to rounding"
    out.hypothesis(
        "δ > 0: no repeated and no antipodal rows", apart, found.separation, 0.0, note=note
    )
    return found


def rate(d: int, delta: Quantity, power: int) -> Quantity:
    """λ = (1 + d log(1/δ)/log d)^{-3} δ^power with δ clipped to 1: a δ-separated set is δ″-separated
    for every δ″ < δ, and beyond δ = 1 the printed factor falls to 0 and below."""
    clipped = Quantity(min(delta.value, 1.0), delta.error)
    if clipped.value <= 0:
        return Quantity(0.0)
    # error of log(1/δ): that of δ over δ
    logs = Quantity(-math.log(clipped.value), clipped.error / clipped.value + 2 * U)
    factor = Quantity(1.0) + logs * (d / math.log(d))
    return clipped**power / factor**3


def as_printed(d: int, delta: float, power: int) -> float:
    """λ with any δ < √2, as printed; ∞ where the factor is 0."""
    factor = 1.0 + d * math.log(1.0 / delta) / math.log(d)
    return delta**power / factor**3 if factor else math.inf


def kernel(i: Instance) -> tuple[Tensor, float]:
    """(the paper's kernel on unit rows, a bound on its rounding in the 2-norm)."""

    def make() -> tuple[Tensor, float]:
        found, K = geometry(i), unit_kernel(i)
        relative = unit_error(i) / float(K.diagonal().sum()) + (2 * i.d + 8) * U
        scaled = _on_unit_rows(i, K, found.norms)
        return scaled, relative * float(scaled.diagonal().sum())

    return i.held("karhadkar kernel", make)


def limit(i: Instance) -> tuple[Tensor, float]:
    """(the limit of the paper's kernel at infinite widths, a bound on its error in the 2-norm)."""

    def make() -> tuple[Tensor, float]:
        found, infinite = geometry(i), wide(i)
        if not infinite.normalised:
            raise NotComputable("the paper's kernel is that of ReLU")
        scaled = _on_unit_rows(i, infinite.K, found.norms)
        relative = infinite.relative + (2 * i.d + 8) * U
        return scaled, relative * float(scaled.diagonal().sum())

    return i.held("karhadkar limit", make)


def _on_unit_rows(i: Instance, K: Tensor, norms: Tensor) -> Tensor:
    # the shallow network has no √2
    return K / norms[:, None] / norms * (0.5 if i.L == 2 else 1.0)


def smallest(i: Instance, of: str) -> Quantity:
    """λ_min of the paper's kernel ("kernel") or of its limit ("limit")."""

    def make() -> Quantity:
        matrix, error = kernel(i) if of == "kernel" else limit(i)
        found = power_eigenvalue(matrix, 1, 0)
        return Quantity(found.value, found.error + error)

    return i.held(("karhadkar smallest", of), make)


def require_limit(i: Instance) -> None:
    """Raise NotComputable where the paper's kernel has no limit here."""
    limit(i)
