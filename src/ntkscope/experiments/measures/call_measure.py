"""``package.module:function``: a measurement of the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from ntkscope.experiments.measures.measure import Measure, Result, TrialSettings, as_result


class CallMeasure(Measure):
    """``function(seed, **arguments)``, which returns a number or a dict of columns."""

    def check(self, settings: TrialSettings) -> None:
        _function(settings)

    def check_device(self, settings: TrialSettings, device: str) -> None:
        if device != "cpu":
            raise ValueError(
                f"the function {settings['target']} takes no device, and got {device}; leave it out"
            )

    def nbytes(self, settings: TrialSettings) -> float:
        return float(settings.get("nbytes", 0))

    def run(
        self,
        settings: TrialSettings,
        seeds: Sequence[int],
        device: str,  # noqa: ARG002
    ) -> list[Result]:
        function = _function(settings)
        return [as_result(function(seed, **settings["arguments"])) for seed in seeds]


def _function(settings: TrialSettings) -> Callable[..., Any]:
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
