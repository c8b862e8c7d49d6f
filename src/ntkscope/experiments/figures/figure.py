"""What a figure is: a sweep at two sizes, how it is drawn, and what it says of its claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ntkscope.experiments.reading.constants import ConstantFit
from ntkscope.experiments.reading.exponents import ScalingVerdict
from ntkscope.experiments.reading.table import Table
from ntkscope.report.result import Result

Scale = Literal["quick", "full"]


@dataclass(frozen=True)
class Analysis(Result):
    """What came out. summary: one sentence. verdicts: the scaling claims, curve by curve.

    facts: further numbers, as rows of (what, value). constants: those of laws that no claim stands behind;
    a verdict has its own.
    """

    summary: str
    verdicts: tuple[ScalingVerdict, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    constants: tuple[ConstantFit, ...] = ()

    @property
    def laws(self) -> tuple[ConstantFit, ...]:
        """Every curve's constant, free exponent and straight line."""
        return (*(v.constant for v in self.verdicts), *self.constants)


@dataclass(frozen=True)
class Figure:
    """A figure that one command makes.

    id, title, source: as `reproduce --list` shows them. claim: what the paper says it shows.
    setup: what is computed. choices: what the paper leaves open or where we deviate, and why.
    settings: the sweep's settings at a scale. draw: onto the panels. analyse: the verdict.
    """

    id: str
    title: str
    source: str
    claim: str
    setup: str
    choices: tuple[str, ...]
    settings: Callable[[Scale], dict[str, Any]]
    draw: Callable[[Table, list[Any]], None]
    analyse: Callable[[Table], Analysis]
    panels: int = 1


def outcomes(verdicts: tuple[ScalingVerdict, ...] | list[ScalingVerdict]) -> str:
    """One sentence over several curves."""
    count: dict[str, int] = {}
    for verdict in verdicts:
        count[verdict.outcome.value] = count.get(verdict.outcome.value, 0) + 1
    if len(count) == 1:
        (only,) = count
        return f"The claimed exponent is {only} on {_all(len(verdicts))}."
    parts = ", ".join(f"{name} on {number}" for name, number in count.items())
    return f"The claimed exponent, over {len(verdicts)} curves: {parts}."


def _all(count: int) -> str:
    return "the one curve" if count == 1 else f"all {count} curves"
