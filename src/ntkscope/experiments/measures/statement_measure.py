"""A statement of a paper over a sweep: its scalings, measured and predicted, and its inequalities."""

from __future__ import annotations

from collections.abc import Sequence

from ntkscope import data
from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.measures.instances import (
    checked_network,
    load_data,
    network_of,
    sizes,
)
from ntkscope.experiments.measures.measure import Measure, Result, TrialSettings
from ntkscope.statements.instance import Instance
from ntkscope.statements.registry import find

# what follows a scaling's name in its columns
MEASURED, PREDICTED, ORDER = " | measured", " | predicted", " | order"


class StatementMeasure(Measure):
    """``statement`` run on the instance of each seed. Draws inside it are few: a sweep has many."""

    def check(self, settings: TrialSettings) -> None:
        find(settings["statement"])
        checked_network(settings)

    def nbytes(self, settings: TrialSettings) -> float:
        N, widths, _ = sizes(settings)
        return 8.0 * (12.0 * N * N + 12.0 * N * widths)

    def run(self, settings: TrialSettings, seeds: Sequence[int]) -> list[Result]:
        return [self._one(settings, seed) for seed in seeds]

    def _one(self, settings: TrialSettings, seed: int) -> Result:
        weights, rows = streams(settings, seed, "weights", "data")
        model = network_of(settings).sample(weights)
        law = data.load(settings["data"], seed=rows).distribution
        instance = Instance(
            model, load_data(settings, rows), seed=weights, distribution=law,
            samples=1024, trials=20,
        )  # fmt: skip
        verdict = find(settings["statement"]).check(instance)
        result: Result = {
            "hypotheses_failed": len(verdict.failing),
            "violations": len(verdict.violations),
        }
        for scaling in verdict.constants:
            result[scaling.name + MEASURED] = scaling.measured.value
            result[scaling.name + PREDICTED] = scaling.predicted.value
            result[scaling.name + ORDER] = scaling.order
        return result
