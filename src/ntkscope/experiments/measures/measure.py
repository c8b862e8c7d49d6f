"""What a measure is: a way to turn a trial's settings and seeds into numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope.experiments.design.trial import Scalar

Result = dict[str, Scalar]  # column → number or text
TrialSettings = Mapping[str, Any]


class Measure(ABC):
    """One way to measure. Everything follows from the settings alone.

    Seeds of one block are computed together, and a thread count belongs to the settings: products
    of another batch size or thread count round differently, and a trial's numbers are to be the
    same bits in every run.
    """

    @abstractmethod
    def check(self, settings: TrialSettings) -> None:
        """Raise ValueError or TypeError for settings that cannot run, before anything runs."""

    def check_device(self, settings: TrialSettings, device: str) -> None:  # noqa: B027
        """Raise ValueError for a device that it cannot compute on, before anything runs."""

    @abstractmethod
    def nbytes(self, settings: TrialSettings) -> float:
        """Peak memory of a block, in bytes."""

    @abstractmethod
    def run(self, settings: TrialSettings, seeds: Sequence[int], device: str) -> list[Result]:
        """One result a seed, computed on ``device`` from draws made on the CPU."""

    def block(self, settings: TrialSettings) -> int:  # noqa: ARG002
        """How many seeds are computed together."""
        return 1

    def threads(self, settings: TrialSettings) -> int:
        """Threads of the linear algebra."""
        return int(settings.get("threads", 1))


def as_result(value: Any, name: str = "value") -> Result:
    """What a function returned, as columns: a mapping, or a number that is called ``name``.

    Raises TypeError for anything that is neither a number nor a text.
    """
    if isinstance(value, Mapping):
        return {str(key): _scalar(number) for key, number in value.items()}
    return {name: _scalar(value)}


def _scalar(value: Any) -> Scalar:
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, int):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"a measurement returns numbers or texts, got {type(value).__name__}"
        ) from None
