"""Measures by name. Each is imported on first use: a settings file is read without torch."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable

from ntkscope._base.specs import unknown
from ntkscope.experiments.design.trial import Trial, at_point
from ntkscope.experiments.measures.measure import Measure, TrialSettings

# name in a trial's settings → module and class
MEASURES = {
    "kernel": ("kernel_measure", "KernelMeasure"),
    "training": ("training_measure", "TrainingMeasure"),
    "statement": ("statement_measure", "StatementMeasure"),
    "call": ("call_measure", "CallMeasure"),
}


def measure_of(settings: TrialSettings) -> Measure:
    """The measure that the settings name. Raises ValueError for an unknown one."""
    return _made(settings.get("measure"))


@functools.cache
def _made(name: object) -> Measure:
    if name not in MEASURES:
        raise ValueError(unknown("measure", name, MEASURES))
    module, class_name = MEASURES[str(name)]
    found = importlib.import_module(f"ntkscope.experiments.measures.{module}")
    made: Measure = getattr(found, class_name)()
    return made


def check(trials: Iterable[Trial]) -> None:
    """Raise ValueError or TypeError for a trial that its measure cannot take, naming its point."""
    for trial in _distinct(trials):
        settings = trial.plain
        with at_point(dict(trial.coordinates)):
            measure_of(settings).check(settings)


def check_device(trials: Iterable[Trial], device: str) -> None:
    """Raise ValueError where a trial's measure cannot compute on ``device``."""
    for trial in _distinct(trials):
        settings = trial.plain
        measure_of(settings).check_device(settings, device)


def _distinct(trials: Iterable[Trial]) -> Iterable[Trial]:
    """One trial of each settings."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.settings, trial)
    return first.values()


@functools.cache
def load_plugin(source: str) -> None:
    """Register what a plugin holds, once a process. Raises PluginError, a ValueError."""
    from ntkscope.statements import registry

    registry.load_plugin(source)
