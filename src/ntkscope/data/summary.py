"""What a data matrix looks like to a kernel: norms, duplicates, the nearest pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntkscope.report.result import Result

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 1024


@dataclass(frozen=True)
class DataSummary(Result):
    """N, d, the rows' norms, groups of equal rows, and the two rows with the smallest angle.

    ``nearest_angle`` is in radians between the closest two distinct directions' rows; it is
    ``None`` for a single row. ``mean_norm`` is ‖mean row‖, 0 for centred data.

    Attributes
    ----------
    n_samples, dim: N and d.
    norm_min, norm_mean, norm_max: of the rows.
    mean_norm: ‖mean row‖₂.
    zero_rows, duplicate_rows: how many.
    duplicate_example, nearest_pair: row numbers.
    nearest_angle, nearest_distance: of that pair.
    """

    n_samples: int
    dim: int
    norm_min: float
    norm_mean: float
    norm_max: float
    mean_norm: float
    zero_rows: int
    duplicate_rows: int
    duplicate_example: tuple[int, int] | None
    nearest_pair: tuple[int, int] | None
    nearest_angle: float | None
    nearest_distance: float | None


def summarize(X: Any) -> DataSummary:
    """Summarise (N, d) data in O(N²d) time and O(N) memory beyond X.

    Parameters
    ----------
    X: (N, d) samples.

    Returns
    -------
    DataSummary of the rows.
    """
    import torch

    from ntkscope._base.inputs import as_data

    X = as_data(X, dtype=torch.float64)
    norms = torch.linalg.vector_norm(X, dim=1)
    duplicates, example = _duplicates(X)
    pair, angle, distance = _nearest(X, norms)
    return DataSummary(
        n_samples=len(X),
        dim=X.shape[1],
        norm_min=float(norms.min()),
        norm_mean=float(norms.mean()),
        norm_max=float(norms.max()),
        mean_norm=float(torch.linalg.vector_norm(X.mean(dim=0))),
        zero_rows=int((norms == 0).sum()),
        duplicate_rows=duplicates,
        duplicate_example=example,
        nearest_pair=pair,
        nearest_angle=angle,
        nearest_distance=distance,
    )


def _duplicates(X: Tensor) -> tuple[int, tuple[int, int] | None]:
    """(rows that repeat an earlier one, the first such pair)."""
    import torch

    unique, inverse = torch.unique(X, dim=0, return_inverse=True)
    count = len(X) - len(unique)
    if count == 0:
        return 0, None
    seen: dict[int, int] = {}
    for row, group in enumerate(inverse.tolist()):
        if group in seen:
            return count, (seen[group], row)
        seen[group] = row
    raise AssertionError("fewer unique rows than rows, yet no pair")


def _nearest(X: Tensor, norms: Tensor) -> tuple[tuple[int, int] | None, float | None, float | None]:
    """The pair of nonzero rows with the smallest angle, the angle from their differences."""
    import torch

    alive = (norms > 0).nonzero()[:, 0]
    if len(alive) < 2:
        return None, None, None
    U = X[alive] / norms[alive, None]
    best, pair = -2.0, (0, 1)
    for i in range(0, len(U), _BLOCK):
        rows = U[i : i + _BLOCK]
        cosines = rows @ U[i:].T
        cosines[torch.ones_like(cosines, dtype=torch.bool).tril()] = -2.0
        top, where = cosines.reshape(-1).max(dim=0)
        if float(top) > best:
            best = float(top)
            r, c = divmod(int(where), cosines.shape[1])
            pair = (i + r, i + c)
    u, v = U[pair[0]], U[pair[1]]
    difference, total = torch.linalg.vector_norm(u - v), torch.linalg.vector_norm(u + v)
    angle = 2.0 * float(torch.atan2(difference, total))
    i, j = int(alive[pair[0]]), int(alive[pair[1]])
    return (i, j), angle, float(torch.linalg.vector_norm(X[i] - X[j]))
