"""``lambda_min``, ``trace``, …: quantities of the kernel of a sampled network on sampled data."""

from __future__ import annotations

from collections.abc import Sequence

from ntkscope.experiments.measures import batched
from ntkscope.experiments.measures.instances import (
    TrialInstance,
    checked_network,
    shape_of,
    sizes,
)
from ntkscope.experiments.measures.measure import Measure, Result, TrialSettings
from ntkscope.experiments.measures.quantities import OF_LIMITS, check_quantities, measured


class KernelMeasure(Measure):
    """``quantities``, each a function of the same instance."""

    def check(self, settings: TrialSettings) -> None:
        check_quantities(settings["quantities"])
        checked_network(settings, limits=set(settings["quantities"]) <= OF_LIMITS)
        if self.block(settings) > 1 and not batched.batchable(settings):
            raise ValueError(
                "batch computes lambda_min, lambda_max and trace of plain networks of one output; "
                f"leave it out for {settings['quantities']} of {settings['network']}"
            )

    def block(self, settings: TrialSettings) -> int:
        return batched.block(settings, shape_of(settings["data"])[0])

    def threads(self, settings: TrialSettings) -> int:
        if "threads" in settings:
            return super().threads(settings)
        # two trials side by side beat one on two threads until they no longer fit in memory
        return 1 if shape_of(settings["data"])[0] < 8000 else 2

    def nbytes(self, settings: TrialSettings) -> float:
        N, widths, weights = sizes(settings)
        matrices = 3.2 if set(settings["quantities"]) <= {"lambda_min", "trace"} else 5.2
        single = 8.0 * (matrices * N * N + 6.0 * N * widths + 2.0 * weights)
        return single * self.block(settings)

    def run(self, settings: TrialSettings, seeds: Sequence[int], device: str) -> list[Result]:
        if self.block(settings) > 1:
            return batched.kernel_results(settings, seeds, device)
        instances = (TrialInstance(settings, seed, device) for seed in seeds)
        return [measured(settings["quantities"], instance) for instance in instances]
