"""How wide a network must be for a λ_min, or for a number of gradient steps: predicted, then verified.

The limiting kernel says what no width exceeds by much; the share of it that finite networks reach is
measured on narrow ones, where 1 − share falls like a power of the width; the width that this
predicts is then tried on sampled networks, and moved until it holds and a narrower one does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network
from ntkscope.prediction.for_sample import predict_for_sample
from ntkscope.training.probes import extremes
from ntkscope.training.width_goal import Goal, theorem_widths
from ntkscope.training.width_result import Concentration, WidthAdvice, WidthPoint

_FINE = 1.15  # the answer is known to this factor
_ROUNDS = 14
_MOST_NETWORKS = 10_000  # sampled networks of each width


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
