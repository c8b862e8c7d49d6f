"""How wide a network must be for a λ_min, or for a number of gradient steps: predicted, then verified.

The limiting kernel says what no width exceeds by much; the share of it that finite networks reach is
measured on narrow ones, where 1 − share falls like a power of the width; the width that this
predicts is then tried on sampled networks, and moved until it holds and a narrower one does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network
from ntkscope.prediction.for_sample import SamplePrediction, predict_for_sample
from ntkscope.report import charts
from ntkscope.report.chart import DASHED, DOTTED, Chart, Series
from ntkscope.report.charts import floats
from ntkscope.report.palette import BLACK
from ntkscope.report.result import Drawn, Result, Tabular
from ntkscope.training.probes import extremes

_FINE = 1.15  # the answer is known to this factor
_ROUNDS = 14
_MOST_NETWORKS = 10_000  # sampled networks of each width


@dataclass(frozen=True)
class Goal:
    """What the width must reach.

    lambda_min: λ_min(K) ≥ this; or loss_ratio within steps: gradient descent with η = 1/λ_max brings
    every residual's squared norm to that share of its start (linearised, worst labels), which asks
    for λ_min/λ_max ≥ 1 − loss_ratio^{1/(2·steps)}.
    """

    lambda_min: int | float | None = None
    loss_ratio: int | float | None = None
    steps: int = 10_000

    def __post_init__(self) -> None:
        if (self.lambda_min is None) == (self.loss_ratio is None):
            raise ValueError("give one goal: a λ_min, or a loss ratio with a number of steps")
        if self.lambda_min is not None and not 0 < self.lambda_min < math.inf:
            raise ValueError(f"the target λ_min must be positive, got {self.lambda_min}")
        if self.loss_ratio is not None and not 0 < self.loss_ratio < 1:
            raise ValueError(f"the loss ratio must lie in (0, 1), got {self.loss_ratio}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    @property
    def threshold(self) -> float:
        """What ``quantity`` must reach."""
        if self.lambda_min is not None:
            return float(self.lambda_min)
        assert self.loss_ratio is not None
        return -math.expm1(math.log(self.loss_ratio) / (2.0 * self.steps))

    def quantity(self, least: float, most: float) -> float:
        """λ_min, or λ_min/λ_max."""
        return least if self.lambda_min is not None else least / most

    @property
    def name(self) -> str:
        """The quantity, in symbols."""
        return "λ_min" if self.lambda_min is not None else "λ_min/λ_max"

    def __str__(self) -> str:
        if self.lambda_min is not None:
            return f"λ_min ≥ {self.lambda_min:g}"
        return f"loss / {1 / float(self.loss_ratio or 1):g} within {self.steps} steps"


@dataclass(frozen=True)
class WidthPoint(Result, also=("mean", "spread")):
    """The goal's quantity on sampled networks of one width, each value with its error.

    limit: that of the limiting kernel.
    """

    width: int
    values: tuple[float, ...]
    errors: tuple[float, ...]
    limit: float

    @property
    def certain(self) -> float:
        """What the worst of the networks certainly reaches: its value less its error."""
        return min(v - e for v, e in zip(self.values, self.errors, strict=True))

    @property
    def mean(self) -> float:
        """The mean over the networks."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """One standard deviation over the networks."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Concentration:
    """1 − mean/limit ≈ loss · width^{-exponent}, fitted on ``points`` widths."""

    loss: float
    exponent: float
    exponent_error: float
    points: int

    def share(self, width: int | float) -> float:
        """The share of the limit expected at a width; 0 where the law claims less than nothing."""
        return max(0.0, 1.0 - self.loss * width ** (-self.exponent))


_GOAL = {"goal": "goal.__str__", "quantity": "goal.name", "threshold": "goal.threshold"}


@dataclass(frozen=True)
class WidthAdvice(Drawn, Tabular, Result, without=("goal",), also=_GOAL):
    """The smallest width found, and the evidence.

    width: ``None`` where none was found; ``reason`` says why. network: at that width. limit: the quantity of
    the limiting kernel there. too_narrow: the widest width that failed. points: everything
    measured. predicted: λ_min of the limiting kernel from N, d and the rows' norms alone, or why
    it is refused. conditions: (theorem, formula, width it would ask for with its constant set to 1).
    """

    goal: Goal
    width: int | None
    too_narrow: int | None
    network: Network | None
    limit: float
    predicted: SamplePrediction
    points: tuple[WidthPoint, ...]
    concentration: Concentration | None
    conditions: tuple[tuple[str, str, int], ...]
    reason: str
    n_samples: int
    seconds: float = field(compare=False, default=0.0)

    def _rows(self) -> tuple[WidthPoint, ...]:
        return self.points

    def _chart(self) -> Chart:
        """The goal's quantity over the widths that were measured, its goal and its limit."""
        shown = [p for p in self.points if p.certain > 0]
        at = [p.width for p in shown]
        chart = charts.curves(
            "width", self.goal.name, at, {"sampled networks": [p.mean for p in shown]},
            errors={"sampled networks": [p.spread for p in shown]},
        )  # fmt: skip
        hidden = len(self.points) - len(shown)
        chart.note = f"{hidden} widths not certainly above 0 not shown" if hidden else ""
        for name, level, dash in (
            ("limiting kernel", self.limit, DASHED),
            ("goal", self.goal.threshold, DOTTED),
        ):
            chart.add(Series(name, floats(at), [level] * len(at), "line", BLACK, dash))
        return chart

    def __str__(self) -> str:
        lines = [f"goal: {self.goal} on {self.n_samples} samples"]
        lines.append(f"limiting kernel: {self.goal.name} = {self.limit:.6g}")
        lines.append(f"predicted from N, d and the norms alone: {self.predicted}")
        for p in self.points:
            lines.append(
                f"  width {p.width}: {p.mean:.5g} ± {p.spread:.2g} ({p.mean / p.limit:.1%} of the "
                f"limit, {len(p.values)} networks)"
            )
        if self.concentration is not None:
            c = self.concentration
            lines.append(
                f"concentration: 1 − share ≈ {c.loss:.3g}·n^-{c.exponent:.2f} (± "
                f"{c.exponent_error:.2f}, {c.points} widths)"
            )
        lines += [f"{name}: {formula} = {n}" for name, formula, n in self.conditions]
        return "\n".join([*lines, self.reason])


def advise_width(
    net: Network,
    X: Any,
    goal: Goal,
    *,
    max_width: int = 4096,
    networks: int = 3,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> WidthAdvice:
    """The smallest common hidden width at which ``networks`` sampled networks all meet ``goal``.

    net: depth, activation, initialization and parameterization; its hidden widths are replaced.

    Raises ValueError for a paired or residual network, several outputs, or arguments out of range.
    """
    data = as_data(X, "X", torch.float64)
    if net.paired or net.residual or net.n_outputs != 1:
        raise ValueError(
            f"the advisor sets one width in plain networks of one output, not in {net}"
        )
    if max_width < 2 or not 1 <= networks <= _MOST_NETWORKS:
        raise ValueError(
            f"max_width is at least 2 and networks from 1 to {_MOST_NETWORKS}, got {max_width} and "
            f"{networks}"
        )
    search = _Search(net, data, goal, max_width, networks, seed, progress)
    return search.run()


class _Search:
    def __init__(
        self, net: Network, X: Float[Tensor, "N d"], goal: Goal, max_width: int, networks: int,
        seed: int, progress: Callable[[str, float], None] | None,
    ) -> None:  # fmt: skip
        self.net, self.X, self.goal = net, X, goal
        self.max_width, self.networks, self.seed = max_width, networks, seed
        self.progress, self.started = progress, time.perf_counter()
        self.points: dict[int, WidthPoint] = {}
        # in "ntk" the limit does not depend on the width, and is computed once
        self._limit: float | None = None
        self._grid: tuple[list[float], list[float]] | None = None

    def at(self, width: int) -> Network:
        hidden = [width] * (self.net.depth - 1)
        return self.net.with_widths([self.X.shape[1], *hidden, 1])

    def limit(self, width: int) -> float:
        if self._limit is not None:
            return self._limit
        values = torch.linalg.eigvalsh(limiting_ntk(self.at(width), self.X))
        found = self.goal.quantity(float(values[0]), float(values[-1]))
        if self.net.parameterization == "ntk":
            self._limit = found
        return found

    def roughly_limit(self, width: int) -> float:
        """The limit between a few widths, log-log: good enough to say where to look next."""
        if self._limit is not None:
            return self._limit
        if self._grid is None:
            widths = sorted({2, 16, 128, 1024, self.max_width})
            self._grid = (
                [math.log(n) for n in widths],
                [math.log(max(self.limit(n), 1e-300)) for n in widths],
            )
        return math.exp(float(np.interp(math.log(width), *self._grid)))

    def measure(self, width: int) -> WidthPoint:
        if width not in self.points:
            if self.progress:
                self.progress(f"width {width}", min(1.0, len(self.points) / _ROUNDS))
            values, errors = [], []
            for k in range(self.networks):
                kernel = empirical_ntk(self.at(width).sample(self.seed + k), self.X)
                least, most = extremes(kernel, kernel.dense())
                values.append(self.goal.quantity(least.value, most.value))
                errors.append(values[-1] - self.goal.quantity(least.lower, most.upper))
            self.points[width] = WidthPoint(width, tuple(values), tuple(errors), self.limit(width))
        return self.points[width]

    def meets(self, width: int) -> bool:
        return self.measure(width).certain >= self.goal.threshold

    def run(self) -> WidthAdvice:
        limit = self.limit(self.max_width)
        if limit < self.goal.threshold:
            return self._advice(
                None,
                f"no width up to {self.max_width}: even the limiting kernel has {self.goal.name} = "
                f"{limit:.4g} < {self.goal.threshold:.4g}; change the data, the depth or the activation",
            )
        width = self._narrowest()
        for _ in range(3):
            if width > self.max_width or self.meets(width):
                break
            width *= 2
        for _ in range(_ROUNDS):
            failed, passed = self._bracket()
            if passed is not None and (failed is None or passed <= _FINE * failed + 1):
                return self._advice(passed, self._found(passed, failed))
            width = self._next(failed, passed)
            if width > self.max_width:
                return self._advice(
                    None,
                    f"no width up to {self.max_width} meets the goal on all {self.networks} networks; "
                    "raise the largest width or lower the goal",
                )
            self.measure(width)
        failed, passed = self._bracket()
        return self._advice(passed, f"stopped after {_ROUNDS} rounds between {failed} and {passed}")

    def _narrowest(self) -> int:
        """The first width with as many parameters as samples: below it λ_min = 0."""
        low, high = 1, self.max_width
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self.at(middle).n_parameters >= len(self.X) else (middle + 1, high)
            )
        return max(2, low)

    def _bracket(self) -> tuple[int | None, int | None]:
        """(the widest that failed, the narrowest wider one that passed)."""
        failed = [n for n in self.points if not self.meets(n)]
        worst = max(failed, default=None)
        passed = [n for n in self.points if self.meets(n) and (worst is None or n > worst)]
        return worst, min(passed, default=None)

    def _next(self, failed: int | None, passed: int | None) -> int:
        """The width that the fitted law asks for, kept inside what is known."""
        if failed is None:
            assert passed is not None
            return max(1, passed // 2)
        guess = self._predicted() or 2 * failed
        if passed is None:
            # a law from few widths is trusted over a factor of four, not further
            return max(failed + 1, min(4 * failed, max(guess, math.ceil(1.1 * failed))))
        inside = failed < guess < passed and guess > 1.03 * failed and guess < 0.97 * passed
        return guess if inside else max(failed + 1, round(math.sqrt(failed * passed)))

    def _predicted(self) -> int | None:
        law = self.concentration()
        if law is None:
            return None
        spread = max((p.spread / p.mean for p in self.points.values() if p.mean > 0), default=0.0)
        low, high = 1, 2 * self.max_width
        while low < high:
            middle = (low + high) // 2
            value = self.roughly_limit(middle) * law.share(middle) * (1.0 - min(0.5, spread))
            low, high = (low, middle) if value >= self.goal.threshold else (middle + 1, high)
        return low

    def concentration(self) -> Concentration | None:
        """The power law through the measured shares that lie inside (0.02, 0.98) of the limit."""
        used = [(p.width, p.mean / p.limit) for p in self.points.values() if p.limit > 0]
        used = [(n, s) for n, s in used if 0.02 < s < 0.98]
        if len(used) < 3:
            return None
        x = np.log([n for n, _ in used])
        y = np.log([1.0 - s for _, s in used])
        (slope, intercept), residual = np.polyfit(x, y, 1), 0.0
        residual = float(np.sum((y - intercept - slope * x) ** 2))
        error = math.sqrt(residual / max(1, len(x) - 2) / float(np.sum((x - x.mean()) ** 2)))
        return Concentration(math.exp(intercept), -float(slope), error, len(x))

    def _found(self, passed: int, failed: int | None) -> str:
        tried = f"all {self.networks} sampled networks of width {passed} meet the goal"
        if failed is None:
            return f"{tried}; nothing narrower has as many parameters as samples, or was needed"
        worst = min(self.points[failed].values)
        return f"{tried}; at width {failed} one has {self.goal.name} = {worst:.4g}"

    def _advice(self, width: int | None, reason: str) -> WidthAdvice:
        failed, _ = self._bracket()
        return WidthAdvice(
            self.goal, width, failed, None if width is None else self.at(width),
            self.limit(width or self.max_width), predict_for_sample(self.at(width or self.max_width), self.X),
            tuple(sorted(self.points.values(), key=lambda p: p.width)), self.concentration(),
            theorem_widths(len(self.X), self.net.depth), reason, len(self.X),
            time.perf_counter() - self.started,
        )  # fmt: skip


def theorem_widths(N: int, depth: int, delta: float = 0.05) -> tuple[tuple[str, str, int], ...]:
    """The widths that the theorems' conditions ask for with every hidden constant set to 1."""
    log = math.log(max(N, 3))
    rows = [
        (
            "Nguyen et al. 2021, Thm 4.1", "N·log N·log(N/δ)",
            N * log * math.log(N / delta),
        ),
        (
            "Bombari et al. 2022, Thm 3.1", "√(N·log⁸N)", math.sqrt(N * log**8),
        ),
        (
            "Banerjee et al. 2023, Thm 4.1", "N·log N·log(LN/δ)",
            N * log * math.log(max(1, depth - 1) * N / delta),
        ),
    ]  # fmt: skip
    return tuple((name, formula, math.ceil(value)) for name, formula, value in rows)
