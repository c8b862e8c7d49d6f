"""What a prediction is: a number with its error and its domain, or a whole spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.report import charts
from ntkscope.report.card import Card
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import number
from ntkscope.report.result import Drawn, Result, Tabular


@dataclass(frozen=True)
class Degree:
    """A degree of the kernel and its part in λ_min: c_r, D_r (as log10) and the share."""

    degree: str
    coefficient: float
    log10_harmonics: float | None
    share: float


@dataclass(frozen=True)
class Prediction(Drawn, Tabular, Result):
    """A predicted λ_min, in the units of the kernel it predicts.

    Attributes
    ----------
    value: the expected λ_min of one random instance.
    error: one standard deviation of an instance around ``value``, with what the method is
        uncertain by.
    lower, upper: where nine instances of ten are expected.
    edge: the lower edge of the bulk; ``value`` is below it where close pairs decide.
    regime: "bulk", "closest pair", "mixed", "zero" (exactly) or "below rounding" (the interval
        ``lower`` to ``upper`` is all that is known).
    pair_probability: the probability that some pair of samples sets λ_min.
    pair_angle: the median smallest angle between two samples, in radians.
    degrees: the degrees that make up λ_min, the largest first; ">R" is the tail.
    reason: why, in a sentence. validity: what holds and what does not.
    reliable: False where the method is known to fail or has lost its digits.
    n_samples, dim: N and d.
    network, data: what was predicted, in words.
    kernel: "limiting" or "empirical".
    diagonal: the mean of the limiting kernel's K_ii.
    """

    value: float
    error: float
    lower: float
    upper: float
    edge: float
    regime: str
    pair_probability: float
    pair_angle: float
    degrees: tuple[Degree, ...]
    reason: str
    validity: str
    reliable: bool
    n_samples: int | float
    dim: int
    network: str
    data: str
    kernel: str = "limiting"
    diagonal: float = math.nan

    def __float__(self) -> float:
        return self.value

    def _rows(self) -> tuple[Degree, ...]:
        return self.degrees

    def _chart(self) -> Chart:
        """Where nine instances of ten are expected, and the edge of the bulk."""
        told = [
            ("nine of ten above", self.lower, "lower"), ("expected λ_min", self.value, "value"),
            ("nine of ten below", self.upper, "upper"), ("edge of the bulk", self.edge, "value"),
        ]  # fmt: skip
        return charts.bounds("λ_min, in the units of the kernel", told, log=self.value > 0)

    def __str__(self) -> str:
        if self.regime == "zero":
            return f"λ_min = 0 exactly ({self.kernel} kernel): {self.reason}"
        if self.regime == "below rounding":
            return f"λ_min in [0, {self.upper:.2g}], below rounding ({self.kernel} kernel): {self.reason}"
        return (
            f"λ_min ≈ {self.value:.6g} ± {self.error:.2g} ({self.kernel} kernel, {self.regime}): "
            f"{self.reason}"
        )


@dataclass(frozen=True)
class SpectrumPrediction(Drawn, Tabular, Result):
    """The predicted spectrum: ``density`` per unit of ln λ at ``eigenvalues``, of total mass 1.

    ``edge`` is the lower end of the bulk. The density is smoothed over a relative width of
    ``smoothing``, so sharp edges are rounded by that much.

    Attributes
    ----------
    eigenvalues, density: the grid, and the density per unit of ln λ on it.
    edge: the lower end of the bulk.
    smoothing: relative width over which the density is smoothed.
    prediction: of λ_min.
    """

    eigenvalues: Array
    density: Array
    edge: float
    smoothing: float
    prediction: Prediction = field(repr=False)

    def _rows(self) -> list[dict[str, float]]:
        pairs = zip(self.eigenvalues.tolist(), self.density.tolist(), strict=True)
        return [{"eigenvalue": value, "density": density} for value, density in pairs]

    def _card(self) -> Card:
        low, middle, high = (number(self.quantile(q)) for q in (0.05, 0.5, 0.95))
        pairs = [
            ("edge of the bulk", number(self.edge, 6)),
            ("eigenvalues", f"5% below {low}, half below {middle}, 95% below {high}"),
            ("λ_min", str(self.prediction)),
            ("network", self.prediction.network), ("data", self.prediction.data),
        ]  # fmt: skip
        return Card("Predicted spectrum", pairs)

    def _chart(self) -> Chart:
        chart = charts.curves(
            "eigenvalue of K", "density per unit of ln λ", self.eigenvalues,
            {"": self.density}, log=(True, False), points=False,
        )  # fmt: skip
        chart.rules.append((self.edge, "edge"))
        return chart

    def __repr__(self) -> str:
        found = self.prediction
        return f"SpectrumPrediction({found.network}, {found.data}, edge={self.edge:.6g})"

    def quantile(self, q: float) -> float:
        """The eigenvalue below which a share q of the spectrum lies."""
        mass = np.concatenate(
            [[0.0], np.cumsum(_trapezoids(self.density, np.log(self.eigenvalues)))]
        )
        return float(np.exp(np.interp(q * mass[-1], mass, np.log(self.eigenvalues))))


def _trapezoids(y: Array, x: Array) -> Array:
    return 0.5 * (y[1:] + y[:-1]) * np.diff(x)
