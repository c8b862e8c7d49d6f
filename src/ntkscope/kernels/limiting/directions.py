"""1 − ρ between rows, to full relative accuracy for near pairs and 1 + ρ for opposite ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 0.05  # below it 1 − ρ comes from differences of rows, above from a matrix product
_PAIRS = 1 << 21  # entries of the gathered rows that are held at once


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with their norms and directions; a zero row has direction 0."""

    matrix: Float[Tensor, "N d"]
    norms: Float[Tensor, N]
    unit: Float[Tensor, "N d"]

    @classmethod
    def of(cls, X: Tensor) -> Rows:
        largest = X.abs().amax(1, keepdim=True)
        safe = torch.where(largest > 0, largest, 1.0)
        scaled = X / safe  # squares of the rows themselves may overflow or vanish
        lengths = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        unit = scaled / torch.where(lengths > 0, lengths, 1.0)
        return cls(X, (lengths * largest)[:, 0], unit)


@dataclass(eq=False)
class Angles:
    """δ = 1 − ρ of some pairs; ``opposite`` holds the flat positions and 1 + ρ of opposite ones."""

    delta: Tensor
    opposite: Tensor
    epsilon: Tensor


def correlations(
    left: Rows, right: Rows, rows: slice | Tensor, cols: slice | Tensor
) -> Float[Tensor, "n m"]:
    """ρ by a matrix product of the directions: absolute error at most (d + 4)u."""
    return left.unit[rows] @ right.unit[cols].T


def angles(left: Rows, right: Rows, rows: slice | Tensor, cols: slice | Tensor) -> Angles:
    """1 − ρ for every pair, the near ones from differences."""
    rho = correlations(left, right, rows, cols)
    return refine(1.0 - rho, left, right, rows, cols)


def refine(
    delta: Tensor, left: Rows, right: Rows, rows: slice | Tensor, cols: slice | Tensor
) -> Angles:
    """Replace the entries of ``delta`` (in place) that cancellation has spoiled."""
    nothing = torch.zeros(0, dtype=torch.long, device=delta.device)
    low, high = (float(x) for x in torch.aminmax(delta))
    flat = delta.view(-1)
    if low < NEAR:
        where = torch.nonzero(flat < NEAR)[:, 0]
        flat[where] = _listed(left, right, rows, cols, where, delta.shape[1], 1.0)
    if high <= 2.0 - NEAR:
        return Angles(delta, nothing, delta.new_zeros(0))
    where = torch.nonzero(flat > 2.0 - NEAR)[:, 0]
    epsilon = _listed(left, right, rows, cols, where, delta.shape[1], -1.0)
    flat[where] = 2.0 - epsilon
    return Angles(delta, where, epsilon)


def _listed(
    left: Rows,
    right: Rows,
    rows: slice | Tensor,
    cols: slice | Tensor,
    where: Tensor,
    width: int,
    sign: float,
) -> Tensor:
    i, j = positions(rows, where // width), positions(cols, where % width)
    return near_pairs(left, right, i, j, sign)


def positions(index: slice | Tensor, inner: Tensor) -> Tensor:
    """Sample numbers of positions inside ``index``."""
    if isinstance(index, slice):
        return inner * (index.step or 1) + (index.start or 0)
    return index[inner]


def near_pairs(left: Rows, right: Rows, i: Tensor, j: Tensor, sign: float = 1.0) -> Tensor:
    """1 − sign·ρ of a list of pairs, without cancellation.

    [‖x−y‖² − (‖x‖−‖y‖)²]/(2‖x‖‖y‖) where the norms are near each other, ‖x̂−ŷ‖²/2 where they
    are not: whichever has the smaller bound on its rounding.
    """
    out = torch.empty(len(i), dtype=left.matrix.dtype, device=left.matrix.device)
    chunk = max(1, _PAIRS // left.matrix.shape[1])
    for start in range(0, len(i), chunk):
        a, b = i[start : start + chunk], j[start : start + chunk]
        n, m = left.norms[a], right.norms[b]
        scale = torch.where(n > 0, n, 1.0)[:, None]
        x, y = left.matrix[a] / scale, sign * (right.matrix[b] / scale)
        unit = left.unit[a] - sign * right.unit[b]
        by_unit = 0.5 * torch.linalg.vecdot(unit, unit)
        ratio = m / scale[:, 0]
        apart = x - y
        spread = torch.linalg.vecdot(apart, x + y) / (1.0 + ratio)  # (‖x‖ − ‖y‖)/‖x‖
        squared = spread * spread
        direct = (torch.linalg.vecdot(apart, apart) - squared) / (2.0 * ratio)
        # errors in units of u: 2 squared/ratio against 2 θ
        take = (squared < ratio * torch.sqrt(2.0 * by_unit)) & (n > 0) & (m > 0)
        out[start : start + chunk] = torch.where(take, direct.clamp_min(0.0), by_unit)
        dead = (n == 0) | (m == 0)
        out[start : start + chunk][dead] = 1.0
    return out
