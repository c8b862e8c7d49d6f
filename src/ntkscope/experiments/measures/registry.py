"""What a trial can measure: quantities of a kernel, the loss after training, your own function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ntkscope._base.specs import unknown
from ntkscope.experiments.running.trial import Result

Settings = Mapping[str, Any]


@runtime_checkable
class Measure(Protocol):
    """A way to turn settings and seeds into results. Everything follows from the settings alone."""

    def check(self, settings: Settings) -> None:
        """Raise ValueError or TypeError for settings that cannot run, before anything runs."""

    def block(self, settings: Settings) -> int:
        """How many seeds are computed together."""

    def threads(self, settings: Settings) -> int:
        """Threads of the linear algebra."""

    def nbytes(self, settings: Settings) -> float:
        """Peak memory of a block, in bytes."""

    def run(self, settings: Settings, seeds: Sequence[int]) -> list[Result]:
        """One result a seed."""


class Call:
    """``module:function``, called as ``function(seed, **arguments)``; it returns a dict or a number."""

    def check(self, settings: Settings) -> None:
        self._function(settings)

    def block(self, settings: Settings) -> int:  # noqa: ARG002
        return 1

    def threads(self, settings: Settings) -> int:
        return int(settings.get("threads", 1))

    def nbytes(self, settings: Settings) -> float:
        return float(settings.get("nbytes", 0))

    def run(self, settings: Settings, seeds: Sequence[int]) -> list[Result]:
        function = self._function(settings)
        return [_as_result(function(seed, **settings["arguments"])) for seed in seeds]

    def _function(self, settings: Settings) -> Callable[..., Any]:
        target = settings["target"]
        module, _, name = target.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"cannot import {target!r}: {error}; write package.module:function, and put its "
                "folder on PYTHONPATH"
            ) from None
        if not callable(found):
            raise TypeError(f"{target!r} is a {type(found).__name__}, not a function")
        return found


def _as_result(value: Any) -> Result:
    if isinstance(value, Mapping):
        return {str(key): _scalar(number) for key, number in value.items()}
    return {"value": _scalar(value)}


def _scalar(value: Any) -> int | float | str:
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


def measure_of(settings: Settings) -> Measure:
    """The measure that the settings name. Raises ValueError for an unknown one."""
    name = settings.get("measure")
    if name == "kernel":
        from ntkscope.experiments.measures.kernel_trials import KernelMeasure

        return KernelMeasure()
    if name == "training":
        from ntkscope.experiments.measures.training_trials import TrainingMeasure

        return TrainingMeasure()
    if name == "statement":
        from ntkscope.experiments.measures.statement_trials import StatementMeasure

        return StatementMeasure()
    if name == "call":
        return Call()
    raise ValueError(unknown("measure", name, ("kernel", "training", "statement", "call")))
