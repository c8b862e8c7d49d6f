"""From trials to exponents and constants, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope.report.result import Result

LEVEL = 0.95
_DRAWS = 2000
_LEAST = 3  # points of a fit: through two passes a line of any kind

Groups = Mapping[float, Sequence[float] | np.ndarray]


@dataclass(frozen=True)
class Estimate(Result):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float

    def contains(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class PowerLaw(Result):
    """y = constant · x^exponent.

    scatter: root mean square of log(mean y / fit) over the points: what the law leaves unexplained.
    resampled: "trials" within each point, or "points" where a point has a single trial.
    """

    exponent: Estimate
    constant: Estimate
    scatter: float
    n_points: int
    n_trials: int
    resampled: str

    def __call__(self, x: Any) -> Any:
        return self.constant.value * np.asarray(x, dtype=float) ** self.exponent.value

    def __str__(self) -> str:
        return f"y = {self.constant.value:.4g} · x^{self.exponent}"


@dataclass(frozen=True)
class Line(Result):
    """y = intercept + slope · x; ``explained`` is the share of the means' variance (R²)."""

    slope: Estimate
    intercept: Estimate
    explained: float
    n_points: int
    n_trials: int
    resampled: str

    def __call__(self, x: Any) -> Any:
        return self.intercept.value + self.slope.value * np.asarray(x, dtype=float)


def power_law(groups: Groups, seed: int = 0) -> PowerLaw:
    """Fit log y = log c + e·log x by weighted least squares.

    ``groups`` maps x to the y of its trials; a point weighs by the inverse variance of the log of
    its mean. The intervals are percentiles over a bootstrap that draws the trials of each point
    anew (the points, where there is one trial each).

    Raises ValueError for fewer than three points, or for an x or a mean that is not positive.
    """
    xs, samples = _prepare(groups)
    _require_positive(xs, samples)
    weights = _weights([ys / ys.mean() for ys in samples])
    logx = np.log(xs)

    def fit(index: np.ndarray, means: np.ndarray) -> np.ndarray:
        # a redraw of trials with zeros may miss every positive one: that point is left out of it
        positive = means > 0
        logs = np.log(np.where(positive, means, 1.0))
        return _least_squares(logx[index], logs, weights[index] * positive)

    (intercept, slope), draws, resampled = _redrawn(samples, fit, seed)
    residual = np.log([ys.mean() for ys in samples]) - intercept - slope * logx
    return PowerLaw(
        exponent=_estimate(slope, draws[1]),
        constant=_estimate(np.exp(intercept), np.exp(draws[0])),
        scatter=float(np.sqrt(np.mean(residual**2))),
        n_points=len(xs),
        n_trials=sum(len(ys) for ys in samples),
        resampled=resampled,
    )


@dataclass(frozen=True)
class Constant(Result):
    """y = constant · x^exponent at a fixed exponent; scatter as in :class:`PowerLaw`."""

    constant: Estimate
    exponent: float
    scatter: float
    n_points: int
    n_trials: int
    resampled: str

    def __call__(self, x: Any) -> Any:
        return self.constant.value * np.asarray(x, dtype=float) ** self.exponent


def constant_at(groups: Groups, exponent: float, seed: int = 0) -> Constant:
    """Fit log y = log c + exponent · log x in c alone; weights and intervals as :func:`power_law`.

    Raises ValueError for an x or a mean that is not positive, and where no point is left.
    """
    xs, samples = _prepare(groups, 1)
    _require_positive(xs, samples)
    weights = _weights([ys / ys.mean() for ys in samples])
    shift = exponent * np.log(xs)

    def fit(index: np.ndarray, means: np.ndarray) -> np.ndarray:
        positive = means > 0
        logs = np.log(np.where(positive, means, 1.0)) - shift[index]
        w = weights[index] * positive
        with np.errstate(invalid="ignore"):
            return np.asarray((w * logs).sum(-1) / w.sum(-1))

    log_c, draws, resampled = _redrawn(samples, fit, seed)
    residual = np.log([ys.mean() for ys in samples]) - shift - log_c
    return Constant(
        constant=_estimate(np.exp(log_c), np.exp(draws)),
        exponent=exponent,
        scatter=float(np.sqrt(np.mean(residual**2))),
        n_points=len(xs),
        n_trials=sum(len(ys) for ys in samples),
        resampled=resampled,
    )


def line(groups: Groups, seed: int = 0) -> Line:
    """Fit y = a + b·x to the means by least squares; intervals as :func:`power_law`.

    Every point weighs the same: with inverse variances the smallest means would decide alone.
    """
    xs, samples = _prepare(groups)
    (intercept, slope), draws, resampled = _redrawn(
        samples, lambda index, means: _least_squares(xs[index], means, np.ones(means.shape)), seed
    )
    means = np.array([ys.mean() for ys in samples])
    spread = float(np.sum((means - means.mean()) ** 2))
    left = float(np.sum((means - intercept - slope * xs) ** 2))
    return Line(
        slope=_estimate(slope, draws[1]),
        intercept=_estimate(intercept, draws[0]),
        explained=1 - left / spread if spread else 1.0,
        n_points=len(xs),
        n_trials=sum(len(ys) for ys in samples),
        resampled=resampled,
    )


def upper_half(groups: Groups) -> dict[float, Sequence[float] | np.ndarray]:
    """The points of the larger x, the middle one included: where an asymptotic law should show."""
    xs = sorted(groups)
    kept = xs[-max(_LEAST, (len(xs) + 1) // 2) :]
    return {x: groups[x] for x in kept}


def _require_positive(xs: np.ndarray, samples: list[np.ndarray]) -> None:
    if xs[0] <= 0:
        raise ValueError(f"a power law needs x > 0, got {xs[0]}")
    for x, ys in zip(xs, samples, strict=True):
        if not ys.mean() > 0:
            raise ValueError(
                f"a power law needs positive means, got {ys.mean():.3g} at x = {x:g}; leave out "
                "the points where the quantity is zero"
            )


def _prepare(groups: Groups, least: int = _LEAST) -> tuple[np.ndarray, list[np.ndarray]]:
    xs = sorted(float(x) for x in groups)
    if len(xs) < least:
        raise ValueError(f"a fit needs at least {least} points, got {len(xs)}")
    samples = [np.asarray(groups[x], dtype=float) for x in xs]
    for x, ys in zip(xs, samples, strict=True):
        if not len(ys) or not np.isfinite(ys).all():
            raise ValueError(f"the trials at x = {x:g} are missing or not finite")
    return np.array(xs), samples


def _weights(samples: list[np.ndarray]) -> np.ndarray:
    """Inverse variances of the means; equal ones where a point does not show its spread."""
    if any(len(ys) < 2 for ys in samples):
        return np.ones(len(samples))
    variances = np.array([ys.var(ddof=1) / len(ys) for ys in samples])
    return np.ones(len(samples)) if (variances <= 0).any() else 1.0 / variances


def _least_squares(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(intercept, slope) of each row; NaN for a redraw that holds one x only."""
    total = weights.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        cx = (weights * x).sum(axis=-1, keepdims=True) / total
        cy = (weights * y).sum(axis=-1, keepdims=True) / total
        covariance = (weights * (x - cx) * (y - cy)).sum(axis=-1)
        slope = covariance / (weights * (x - cx) ** 2).sum(axis=-1)
    return np.stack([cy[..., 0] - slope * cx[..., 0], slope])


def _redrawn(
    samples: list[np.ndarray], fit: Callable[[np.ndarray, np.ndarray], np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """(estimates, their redraws as rows, what was drawn anew) of ``fit(index of the points, means)``."""
    rng = np.random.default_rng(seed)
    means, points = np.array([ys.mean() for ys in samples]), np.arange(len(samples))
    if any(len(ys) < 2 for ys in samples):
        index = rng.integers(len(samples), size=(_DRAWS, len(samples)))
        return fit(points, means), fit(index, means[index]), "points"
    drawn = [ys[rng.integers(len(ys), size=(_DRAWS, len(ys)))].mean(axis=1) for ys in samples]
    return fit(points, means), fit(points, np.stack(drawn, axis=1)), "trials"


def _estimate(value: Any, draws: np.ndarray) -> Estimate:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws[np.isfinite(draws)], [tail, 100 - tail])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
