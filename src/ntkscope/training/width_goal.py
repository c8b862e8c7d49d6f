"""What a width must reach, and the widths that theorems ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
