"""A statement of a paper over a sweep: its scalings, measured and predicted, and its inequalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope import data
from ntkscope.experiments.measures.kernel_trials import (
    KernelMeasure,
    load_data,
    network_of,
    shape_of,
)
from ntkscope.experiments.running.trial import Result, streams
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find

Settings = Mapping[str, Any]
MEASURED, PREDICTED, ORDER = " | measured", " | predicted", " | order"


class StatementMeasure:
    """``statement`` run on the instance of each seed. Draws inside it are few: a sweep has many."""

    def check(self, settings: Settings) -> None:
        find(settings["statement"])
        KernelMeasure().check({**settings, "quantities": []})

    def block(self, settings: Settings) -> int:  # noqa: ARG002
        return 1

    def threads(self, settings: Settings) -> int:
        return int(settings.get("threads", 1))

    def nbytes(self, settings: Settings) -> float:
        N, _ = shape_of(settings["data"])
        widths = [float(n) for n in settings["network"]["widths"]]
        return 8.0 * (12.0 * N * N + 12.0 * N * sum(widths))

    def run(self, settings: Settings, seeds: Sequence[int]) -> list[Result]:
        return [self._one(settings, seed) for seed in seeds]

    def _one(self, settings: Settings, seed: int) -> Result:
        weights, rows = streams(settings, seed, "weights", "data")
        model = network_of(settings).sample(weights)
        law = data.load(settings["data"], seed=rows).distribution
        instance = Instance(
            model, load_data(settings, rows), seed=weights, distribution=law,
            samples=1024, trials=20,
        )  # fmt: skip
        verdict = find(settings["statement"]).check(instance)
        result: Result = {
            "hypotheses_failed": sum(h.holds is False for h in verdict.hypotheses),
            "violations": sum(c.holds is False for c in verdict.claims),
        }
        for scaling in verdict.scalings:
            result[scaling.name + MEASURED] = scaling.measured.value
            result[scaling.name + PREDICTED] = scaling.predicted
            result[scaling.name + ORDER] = scaling.order
        return result
