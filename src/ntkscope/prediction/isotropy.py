"""Do a sample's directions look uniform on the sphere, as the predictor supposes?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, as_numpy
from ntkscope.prediction.caps import log_cap
from ntkscope.report.result import Result

_ROWS = 2000  # of the sample that the moments are taken from
_SIGMAS = 6.0  # how far a moment may be from its law
_MEAN_COSINE = 0.02  # and how far from isotropic it must be to matter
_DIMENSION = 0.1
_PAIR = 1e-4  # probability of so near a pair


@dataclass(frozen=True)
class Isotropy(Result):
    """What tells a sample from uniform directions.

    Attributes
    ----------
    isotropic: whether none of the three tests fails.
    mean_cosine: average of cos θ_ij over pairs (0 for uniform directions).
    effective_dim: 1/average of cos² θ_ij (d for uniform directions).
    sigmas: the distance of the two averages from their law, in standard deviations.
    pair_probability: P(smallest angle of N uniform points ≤ the sample's).
    reason: in a sentence.
    """

    isotropic: bool
    mean_cosine: float
    effective_dim: float
    sigmas: tuple[float, float]
    pair_probability: float
    reason: str


def isotropy(X: Any, nearest_angle: float | None = None) -> Isotropy:
    """Test the directions of the rows of X, (N, d), against the uniform law on the sphere in R^d.

    (D_r/N) Σ_ij P_r(ρ_ij) is the squared norm of the sample's r-th harmonic moment and follows χ²
    with D_r degrees for uniform directions: r = 1 tests the mean, r = 2 the covariance. The third
    test asks whether the closest pair, ``nearest_angle`` radians apart, is closer than chance.

    Raises ValueError for zero rows, d < 2 or N < 2.
    """
    table = as_numpy(X)
    N, d = table.shape
    if d < 2 or N < 2:
        raise ValueError(f"isotropy needs at least 2 rows in 2 dimensions, got shape {(N, d)}")
    norms = np.linalg.norm(table, axis=1)
    if bool((norms == 0).any()):
        raise ValueError(f"{int((norms == 0).sum())} rows are zero and have no direction")
    U = table / norms[:, None]
    # evenly spaced rows: files are often sorted by class
    rows = U[np.linspace(0, N - 1, _ROWS).astype(int)] if N > _ROWS else U
    n = len(rows)
    first = float(np.sum(rows.sum(0) ** 2))
    gram = rows.T @ rows if d <= n else rows @ rows.T
    second = float((gram * gram).sum())
    mean = (first - n) / (n * (n - 1.0))
    mean_square = (second - n) / (n * (n - 1.0))
    harmonics = 0.5 * (d + 2.0) * (d - 1.0)
    moments = (d * first / n, harmonics * (d * second / n - n) / (d - 1.0))
    sigmas = (
        (moments[0] - d) / math.sqrt(2.0 * d),
        (moments[1] - harmonics) / math.sqrt(2.0 * harmonics),
    )
    effective = 1.0 / mean_square if mean_square > 0 else math.inf
    probability = _pair_probability(N, d, U, nearest_angle)
    faults = []
    if sigmas[0] > _SIGMAS and abs(mean) > _MEAN_COSINE:
        faults.append(f"two rows have a cosine of {mean:.2g} on average, not 0")
    if sigmas[1] > _SIGMAS and effective < (1.0 - _DIMENSION) * d:
        faults.append(f"the directions fill about {effective:.3g} dimensions, not d = {d}")
    if probability < _PAIR:
        faults.append(f"the closest pair is closer than chance (probability {probability:.1g})")
    reason = (
        "the sample is far from isotropic: " + "; ".join(faults)
        if faults
        else "the sample's directions look uniform"
    )
    return Isotropy(not faults, mean, effective, sigmas, probability, reason)


def _pair_probability(N: int, d: int, U: Array, angle: float | None) -> float:
    if angle is None:
        if N > 4 * _ROWS:
            return 1.0
        cosines = U @ U.T
        np.fill_diagonal(cosines, -1.0)
        i, j = divmod(int(cosines.argmax()), N)
        apart, sum_ = (float(np.linalg.norm(x)) for x in (U[i] - U[j], U[i] + U[j]))
        angle = 2.0 * math.atan2(apart, sum_)
    if angle <= 0.0:
        return 0.0
    if angle >= math.pi / 2:
        return 1.0
    expected = 0.5 * N * (N - 1.0) * math.exp(float(log_cap(d, np.array([angle]))[0]))
    return -math.expm1(-expected)
