"""From trials to exponents and constants, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
_DRAWS = 2000

Groups = Mapping[float, Sequence[float] | np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval."""

    value: float
    low: float
    high: float

    def contains(self, number: float) -> bool:
        return self.low <= number <= self.high

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@dataclass(frozen=True)
class PowerLaw:
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"y = {self.constant.value:.4g} · x^{self.exponent}"


@dataclass(frozen=True)
class Line:
    """y = intercept + slope · x; ``explained`` is the share of the means' variance (R²)."""

    slope: Estimate
    intercept: Estimate
    explained: float
    n_points: int
    n_trials: int
    resampled: str

    def __call__(self, x: Any) -> Any:
        return self.intercept.value + self.slope.value * np.asarray(x, dtype=float)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """measured / predicted over all points: a bounded ratio is what Θ claims."""

    mean: Estimate
    smallest: float
    largest: float
    exponent: Estimate

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def power_law(groups: Groups, seed: int = 0) -> PowerLaw:
    """Fit log y = log c + e·log x by weighted least squares.

    ``groups`` maps x to the y of its trials; a point weighs by the inverse variance of the log of
    its mean. The intervals are percentiles over a bootstrap that draws the trials of each point
    anew (the points, where there is one trial each).

    Raises ValueError for fewer than three points, or for an x or a mean that is not positive.
    """
    xs, samples = _prepare(groups, 3)
    if min(xs) <= 0:
        raise ValueError(f"a power law needs x > 0, got {min(xs)}")
    for x, ys in zip(xs, samples, strict=True):
        if not ys.mean() > 0:
            raise ValueError(
                f"a power law needs positive means, got {ys.mean():.3g} at x = {x:g}; leave out "
                "the points where the quantity is zero"
            )
    logx = np.log(xs)

    def fit(drawn: list[np.ndarray], index: np.ndarray) -> tuple[float, float]:
        means = np.array([ys.mean() for ys in drawn])
        keep = means > 0  # a redraw of trials with zeros may miss all positive ones
        return _least_squares(logx[index][keep], np.log(means[keep]), weights[index][keep])

    weights = _weights([ys / ys.mean() for ys in samples])
    everything = np.arange(len(xs))
    intercept, slope = fit(samples, everything)
    draws, kind = _bootstrap(samples, fit, seed)
    means = np.array([ys.mean() for ys in samples])
    residual = np.log(means) - intercept - slope * logx
    return PowerLaw(
        exponent=_estimate(slope, draws[:, 1]),
        constant=_estimate(math.exp(intercept), np.exp(draws[:, 0])),
        scatter=float(np.sqrt(np.mean(residual**2))),
        n_points=len(xs),
        n_trials=sum(len(ys) for ys in samples),
        resampled=kind,
    )


def line(groups: Groups, seed: int = 0) -> Line:
    """Fit y = a + b·x to the means by least squares; intervals as :func:`power_law`.

    Every point weighs the same: with inverse variances the smallest means would decide alone.
    """
    xs, samples = _prepare(groups, 3)
    positions = np.array(xs)
    weights = np.ones(len(xs))

    def fit(drawn: list[np.ndarray], index: np.ndarray) -> tuple[float, float]:
        means = np.array([ys.mean() for ys in drawn])
        return _least_squares(positions[index], means, weights[index])

    intercept, slope = fit(samples, np.arange(len(xs)))
    draws, kind = _bootstrap(samples, fit, seed)
    means = np.array([ys.mean() for ys in samples])
    spread = float(np.sum((means - means.mean()) ** 2))
    left = float(np.sum((means - intercept - slope * positions) ** 2))
    return Line(
        slope=_estimate(slope, draws[:, 1]),
        intercept=_estimate(intercept, draws[:, 0]),
        explained=1 - left / spread if spread else 1.0,
        n_points=len(xs),
        n_trials=sum(len(ys) for ys in samples),
        resampled=kind,
    )


def ratio(measured: Groups, predicted: Mapping[float, float], seed: int = 0) -> Ratio:
    """measured / predicted, both keyed by the same x, where ``predicted`` leaves out its constant.

    ``exponent`` is the slope of log measured over log predicted: 1 for a law that holds.
    """
    xs, samples = _prepare(measured, 3)
    ratios = [ys / predicted[x] for x, ys in zip(xs, samples, strict=True)]
    means = np.array([r.mean() for r in ratios])
    law = power_law({predicted[x]: ys for x, ys in zip(xs, samples, strict=True)}, seed)

    def fit(drawn: list[np.ndarray], index: np.ndarray) -> tuple[float, float]:  # noqa: ARG001
        return float(np.mean([r.mean() for r in drawn])), 0.0

    draws, _ = _bootstrap(ratios, fit, seed)
    return Ratio(
        mean=_estimate(float(means.mean()), draws[:, 0]),
        smallest=float(means.min()),
        largest=float(means.max()),
        exponent=law.exponent,
    )


def upper_half(groups: Groups) -> dict[float, Sequence[float] | np.ndarray]:
    """The points of the larger x, the middle one included: where an asymptotic law should show."""
    xs = sorted(groups)
    kept = xs[-max(3, (len(xs) + 1) // 2) :]
    return {x: groups[x] for x in kept}


def _prepare(groups: Groups, least: int) -> tuple[list[float], list[np.ndarray]]:
    xs = sorted(float(x) for x in groups)
    if len(xs) < least:
        raise ValueError(f"a fit needs at least {least} points, got {len(xs)}")
    samples = [np.asarray(groups[x], dtype=float) for x in xs]
    for x, ys in zip(xs, samples, strict=True):
        if not len(ys) or not np.isfinite(ys).all():
            raise ValueError(f"the trials at x = {x:g} are missing or not finite")
    return xs, samples


def _weights(samples: list[np.ndarray]) -> np.ndarray:
    """Inverse variances of the means; equal ones where a point does not show its spread."""
    if any(len(ys) < 2 for ys in samples):
        return np.ones(len(samples))
    variances = np.array([ys.var(ddof=1) / len(ys) for ys in samples])
    return np.ones(len(samples)) if (variances <= 0).any() else 1.0 / variances


def _least_squares(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    total = weights.sum()
    cx, cy = (weights * x).sum() / total, (weights * y).sum() / total
    spread = (weights * (x - cx) ** 2).sum()
    if spread == 0:
        return float("nan"), float("nan")  # a redraw of points that holds one x only
    slope = float((weights * (x - cx) * (y - cy)).sum() / spread)
    return float(cy - slope * cx), slope


def _bootstrap(samples: list[np.ndarray], fit: Any, seed: int) -> tuple[np.ndarray, str]:
    rng = np.random.default_rng(seed)
    everything = np.arange(len(samples))
    by_points = any(len(ys) < 2 for ys in samples)
    draws = []
    for _ in range(_DRAWS):
        if by_points:
            index = rng.integers(len(samples), size=len(samples))
            draws.append(fit([samples[i] for i in index], index))
        else:
            drawn = [ys[rng.integers(len(ys), size=len(ys))] for ys in samples]
            draws.append(fit(drawn, everything))
    found = np.array(draws)
    return found[np.isfinite(found).all(axis=1)], "points" if by_points else "trials"


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
