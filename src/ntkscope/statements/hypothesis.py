"""A condition of a statement, on an instance or on a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ntkscope.statements.outcomes import HypothesisState

Order = Literal["Ω", "O", "Θ"]


def plain(x: Any) -> Any:
    """A JSON value: infinities and NaN become text, since JSON has neither."""
    if isinstance(x, float) and not math.isfinite(x):
        return "nan" if math.isnan(x) else ("inf" if x > 0 else "-inf")
    return x


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a statement, on this instance.

    met: whether it holds; ``None`` when a sample cannot test it, or its constant is hidden.
    measured, threshold: the numbers compared, where there are such.
    order: "Ω", "O" or "Θ" where the threshold is known up to a constant only: measured = order(threshold).
    """

    name: str
    met: bool | None
    measured: float | None = None
    threshold: float | None = None
    order: Order | None = None
    note: str = ""

    @property
    def constant(self) -> float | None:
        """measured / threshold: what the hidden constant would have to be; None where that is none."""
        if self.measured is None or not self.threshold:
            return None
        ratio = self.measured / self.threshold
        return ratio if math.isfinite(ratio) and ratio != 0 else None

    @property
    def state(self) -> HypothesisState:
        """Met, not met, in need of a constant, or unknown."""
        if self.order is not None:
            needs = HypothesisState.NEEDS_CONSTANT
            return HypothesisState.UNKNOWN if self.constant is None else needs
        if self.met is None:
            return HypothesisState.UNKNOWN
        return HypothesisState.MET if self.met else HypothesisState.NOT_MET

    @property
    def needed(self) -> str:
        """The constant needed, such as ``c ≤ 0.009``; empty where no constant is hidden."""
        if self.state is not HypothesisState.NEEDS_CONSTANT:
            return ""
        relation = {"Ω": "≤", "O": "≥", "Θ": "="}[self.order or "Θ"]
        return f"c {relation} {self.constant:.2g}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "state": self.state.value, "measured": plain(self.measured),
            "threshold": plain(self.threshold), "order": self.order,
            "constant": plain(self.constant), "needed": self.needed, "note": self.note,
        }  # fmt: skip
