"""A statement of a paper over a sweep: its conclusions up to a constant, measured and predicted."""

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
from ntkscope.statements.kinds import Constant
from ntkscope.statements.registry import find

# what follows a conclusion's label in its columns
MEASURED, PREDICTED, ORDER = " | measured", " | predicted", " | order"


class StatementMeasure(Measure):
    """``statement`` run on the instance of each seed. Draws inside it are few: a sweep has many."""

    def check(self, settings: TrialSettings) -> None:
        find(settings["statement"])
        checked_network(settings)

    def nbytes(self, settings: TrialSettings) -> float:
        N, widths, _ = sizes(settings)
        return 8.0 * (12.0 * N * N + 12.0 * N * widths)

    def run(self, settings: TrialSettings, seeds: Sequence[int], device: str) -> list[Result]:
        return [self._one(settings, seed, device) for seed in seeds]

    def _one(self, settings: TrialSettings, seed: int, device: str) -> Result:
        weights, rows = streams(settings, seed, "weights", "data")
        model = network_of(settings).sample(weights, device=device)
        law = data.load(settings["data"], seed=rows).distribution
        instance = Instance(
            model, load_data(settings, rows, device), seed=weights, distribution=law,
            samples=1024, trials=20,
        )  # fmt: skip
        verdict = find(settings["statement"]).check(instance)
        result: Result = {
            "outcome": verdict.outcome.value,
            "hypotheses_failed": len(verdict.failing),
            "violations": len(verdict.violations),
            "missed": len(verdict.missed),
        }
        for label, item in labelled(verdict.constants).items():
            result[label + MEASURED] = item.measured.value
            result[label + PREDICTED] = item.predicted.value
            result[label + ORDER] = item.order
        return result


def labelled(constants: Sequence[Constant]) -> dict[str, Constant]:
    """The conclusions (the steps, where nothing concludes) by a label of their own.

    It says measured = order(expression); two that still read the same are told apart by their key,
    layer, power, …, and at last by a number, so that none is lost.
    """
    concluding = [c for c in constants if c.concludes] or list(constants)
    found: dict[str, Constant] = {}
    for item in concluding:
        label = f"{item.name} = {item.order}({item.expression or '·'})"
        if label in found:
            at = ", ".join((item.key, *(f"{k} = {v}" for k, v in item.at.items())))
            label = f"{label} [{at}]"
        count = 2
        unique = label
        while unique in found:
            unique, count = f"{label} #{count}", count + 1
        found[unique] = item
    return found
