"""λ_min predicted along one size, and divided by the power with which it scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ntkscope._base.specs import unknown
from ntkscope.networks.network import Network
from ntkscope.prediction.predict import predict_smallest_eigenvalue
from ntkscope.prediction.result import Prediction
from ntkscope.report import charts
from ntkscope.report.card import Card, Grid
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import number
from ntkscope.report.result import Drawn, Result, Tabular

AXES = {"samples": "N", "dim": "d", "width": "n"}


@dataclass(frozen=True)
class PredictedCurve(Drawn, Tabular, Result, also=("exponent", "constants", "shares")):
    """Predictions over N, d or the width n of every hidden layer.

    refused: value → why the predictor gives none there; such values are left out of the others.
    """

    over: str
    values: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    refused: dict[int, str]

    def _rows(self) -> list[dict[str, Any]]:
        pairs = zip(self.values, self.predictions, strict=True)
        keys = ("value", "lower", "upper", "edge", "regime")
        return [{self.symbol: v, **{k: getattr(p, k) for k in keys}} for v, p in pairs]

    def _card(self) -> Card:
        rows = [
            (f"{v:,}", number(p.value, 5), number(p.lower),
             number(p.upper), p.regime)
            for v, p in zip(self.values, self.predictions, strict=True)
        ]  # fmt: skip
        notes = [f"{self.symbol} = {v}: {why}" for v, why in self.refused.items()]
        heads = (self.symbol, "λ_min", "from", "to", "regime")
        return Card(f"λ_min predicted over {self.over}", grids=[Grid("", heads, rows)], notes=notes)

    def _chart(self) -> Chart:
        found = {
            "predicted λ_min": [p.value for p in self.predictions],
            "edge of the bulk": [p.edge for p in self.predictions],
        }
        return charts.curves(self.symbol, "λ_min, in the units of the kernel", self.values, found)

    @property
    def symbol(self) -> str:
        """N, d or n."""
        return AXES[self.over]

    @property
    def exponent(self) -> int:
        """The whole power of the size that K_ii grows with along the curve: 1 over d for rows of norm √d and
        β = 1, where Nguyen et al. 2021, Theorem 3.2 puts λ_min between Ω(d) and L·O(d)."""
        if len(self.values) < 2:
            return 0
        grown = self.predictions[-1].diagonal / self.predictions[0].diagonal
        return round(math.log(grown) / math.log(self.values[-1] / self.values[0]))

    @property
    def constants(self) -> tuple[float, ...]:
        """λ_min/size^exponent: constant where λ_min keeps the order of K_ii."""
        return tuple(
            p.value / float(v) ** self.exponent
            for v, p in zip(self.values, self.predictions, strict=True)
        )

    @property
    def shares(self) -> tuple[float, ...]:
        """λ_min/K_ii, within 0 and 1."""
        return tuple(p.value / p.diagonal for p in self.predictions)


def predict_over(
    net: Network, n_samples: int | float, over: str, values: Sequence[int], data: Any = "sphere"
) -> PredictedCurve:
    """Predict λ_min at each value of one size.

    Parameters
    ----------
    net, n_samples, data: as :func:`predict_smallest_eigenvalue` takes them.
    over: ``"samples"``, ``"dim"`` (both of the limiting kernel), or ``"width"``: every hidden layer as wide,
        the empirical kernel at these widths.
    values: of that size, rising.

    Raises
    ------
    ValueError
        As :func:`predict_smallest_eigenvalue`; over widths only where no width has a prediction.
    """
    if over not in AXES:
        raise ValueError(unknown("axis", over, tuple(AXES)))
    found: dict[int, Prediction] = {}
    refused: dict[int, str] = {}
    for value in values:
        try:
            found[value] = _at(net, n_samples, over, value, data)
        except ValueError as error:
            if over != "width":
                raise
            refused[value] = str(error)
    if not found:
        raise ValueError(f"no width has a prediction: {next(iter(refused.values()))}")
    return PredictedCurve(over, tuple(found), tuple(found.values()), refused)


def _at(net: Network, n_samples: int | float, over: str, value: int, data: Any) -> Prediction:
    if over == "samples":
        return predict_smallest_eigenvalue(net, value, net.dim, data)
    if over == "dim":
        return predict_smallest_eigenvalue(net, n_samples, value, data)
    wide = net.with_widths((net.widths[0], *[value] * (len(net.widths) - 2), net.widths[-1]))
    return predict_smallest_eigenvalue(wide, n_samples, net.dim, data, kernel="empirical")
