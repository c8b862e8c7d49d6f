"""One hidden layer: all cells of the arrangement of hyperplanes {z: g_1j(z) = 0}.

Every cell of an essential arrangement has a vertex (biases) or an extreme ray (none), where d or d − 1
of the hyperplanes meet; around it each choice of their signs is one cell, the other signs being
fixed. In general position these are all the cells and nothing but cells. Where a sign at a vertex lies
within the error of floating point, the vertex is solved for in fractions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from ntkscope.lipschitz.maps import FeatureMap
from ntkscope.lipschitz.rounding import Enclosed, U, gamma, slopes_beside_zero
from ntkscope.lipschitz.whole_numbers import sign

MOST_CELLS = 1 << 16
_CHUNK = 2048


def cells_of_one_layer(feature_map: FeatureMap) -> tuple[float, float, int] | None:
    """(lower, upper, cells): the largest ‖J‖ over the cells, enclosed.

    None with more than 65536 candidate cells, or without general position.
    """
    first, second = (m.double().cpu() for m in feature_map.matrices)
    affine = bool(feature_map.biases)
    offsets = feature_map.biases[0].double().cpu() if affine else torch.zeros(first.shape[1])
    patterns = _patterns(first.T, offsets.double(), affine)
    if patterns is None:
        return None
    ends = slopes_beside_zero(feature_map)
    lower = upper = 0.0
    for chunk in patterns.split(_CHUNK):
        slopes = ends[chunk.long()][:, None, :]
        least, most = Enclosed.exact(first[None]).scaled(slopes).times(second).norm()
        lower, upper = max(lower, least), max(upper, most)
    return lower, upper, len(patterns)


def _patterns(normals: Tensor, offsets: Tensor, affine: bool) -> Tensor | None:
    """The activation patterns of all cells (cells, n); None where they cannot be enumerated."""
    n, d = normals.shape
    if n <= d:
        if n > math.log2(MOST_CELLS) or not _independent(normals):
            return None
        return _sign_choices(n)  # independent normals: every choice of signs is a cell
    meet = d if affine else d - 1
    if math.comb(n, meet) * 2**meet * (1 if affine else 2) > MOST_CELLS:
        return None
    found = []
    free = _sign_choices(meet)
    for chosen, signs in _vertices(normals, offsets, meet):
        if signs is None:
            return None
        for side in (1,) if affine else (1, -1):
            pattern = (signs * side > 0).expand(len(free), n).clone()
            pattern[:, list(chosen)] = free
            found.append(pattern)
    return torch.unique(torch.cat(found), dim=0)


def _sign_choices(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([False, True], repeat=n)), dtype=torch.bool)


def _independent(normals: Tensor) -> bool:
    """Whether the rows are linearly independent, beyond the rounding of the singular values."""
    values = torch.linalg.svdvals(normals)
    return float(values[-1]) > 8 * sum(normals.shape) * U * float(values[0])


def _vertices(
    normals: Tensor, offsets: Tensor, meet: int
) -> Iterator[tuple[tuple[int, ...], Tensor | None]]:
    """(hyperplanes that meet, signs of all n there); None where another one passes, or they do not meet.

    Without biases d − 1 of them meet in a line, on which one point is taken.
    """
    chosen = list(itertools.combinations(range(len(normals)), meet))
    for start in range(0, len(chosen), _CHUNK):
        part = chosen[start : start + _CHUNK]
        index = torch.tensor(part, dtype=torch.long).reshape(len(part), meet)
        matrices, right = _equations(normals[index], offsets[index])
        signs, certain = _signs(matrices, right, normals, offsets, index)
        for row, members in enumerate(part):
            found: Tensor | None = signs[row]
            if not certain[row]:
                found = _exact_signs(matrices[row], right[row], normals, offsets, members)
            yield members, found


def _equations(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Square systems for the meeting points; a line is cut by a plane across it."""
    count, meet, d = rows.shape
    if meet == d:
        return rows, -offsets
    across = (
        torch.linalg.svd(rows, full_matrices=True)[2][:, -1:, :]
        if meet
        else torch.ones(count, 1, d)
    )
    matrices = torch.cat([rows, across.double()], dim=1)
    right = torch.zeros(count, d, dtype=torch.float64)
    right[:, -1] = 1.0
    return matrices, right


def _signs(
    matrices: Tensor, right: Tensor, normals: Tensor, offsets: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """(signs of n_j·x + b_j at the solutions, whether all but those that meet there are certain).

    With R ≈ M⁻¹ and ε = ‖I − RM‖_∞ < 1, |x − x̃| ≤ ‖R(b − Mx̃)‖_∞/(1 − ε) (Rump 1999).
    """
    d = normals.shape[1]
    inverse, info = torch.linalg.inv_ex(matrices)
    product = (torch.eye(d, dtype=torch.float64) - inverse @ matrices).abs()
    product = product + gamma(d + 2) * (inverse.abs() @ matrices.abs() + torch.eye(d))
    defect = product.sum(2).amax(1) * (1 + gamma(d + 8))
    x = (inverse @ right[:, :, None])[:, :, 0]
    left = (matrices @ x[:, :, None])[:, :, 0]
    size = (matrices.abs() @ x.abs()[:, :, None])[:, :, 0] + right.abs()
    residual = (right - left).abs() + gamma(d + 3) * size
    away = (inverse.abs() @ residual[:, :, None])[:, :, 0].amax(1) * (1 + gamma(2 * d + 16))
    away = away / (1 - defect) * (1 + 8 * U)
    value = x @ normals.T + offsets
    error = (x.abs() @ normals.abs().T + offsets.abs()) * gamma(d + 3)
    error = (error + away[:, None] * normals.abs().sum(1)) * (1 + gamma(d + 8))
    sure = value.abs() > error
    sure.scatter_(1, index, True)
    good = (info == 0) & (defect < 1) & defect.isfinite()
    return torch.sign(value), sure.all(1) & good


def _exact_signs(
    matrix: Tensor, right: Tensor, normals: Tensor, offsets: Tensor, members: tuple[int, ...]
) -> Tensor | None:
    """The signs in fractions; None where the hyperplanes do not meet in a point, or one more does."""
    x = _solve([[Fraction(a) for a in row] for row in matrix.tolist()],
               [Fraction(b) for b in right.tolist()])  # fmt: skip
    if x is None:
        return None
    signs = []
    for j, (row, b) in enumerate(zip(normals.tolist(), offsets.tolist(), strict=True)):
        value = sum((Fraction(a) * c for a, c in zip(row, x, strict=True)), Fraction(b))
        if value == 0 and j not in members:
            return None
        signs.append(sign(value))
    return torch.tensor(signs, dtype=torch.float64)


def _solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Gaussian elimination; None for a singular matrix."""
    n = len(matrix)
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k] != 0), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                factor = rows[i][k] / rows[k][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [rows[k][n] / rows[k][k] for k in range(n)]
