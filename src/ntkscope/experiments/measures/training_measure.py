"""``final_loss``: the loss that Adam reaches on Gaussian targets (Bombari et al. 2022, Figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ntkscope._base.inputs import as_dtype, as_seed
from ntkscope._base.specs import unknown
from ntkscope.experiments.design.expressions import evaluate
from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.measures.adam import adam
from ntkscope.experiments.measures.instances import (
    checked_network,
    load_data,
    network_of,
    shape_of,
    sizes,
)
from ntkscope.experiments.measures.measure import Measure, Result, TrialSettings

BLOCK = 10  # seeds trained together


@dataclass(frozen=True)
class TrainingOptions:
    """``[training]`` of a sweep. The rate may be an expression in N.

    learning_rate: of Adam. epochs: at most so many steps. window: epochs whose mean loss is
    compared with that of the window before. dtype: of weights and data.
    """

    learning_rate: int | float | str = "1/(10*sqrt(N))"
    epochs: int = 10_000
    window: int = 100
    dtype: str = "float32"

    @classmethod
    def of(cls, settings: TrialSettings) -> TrainingOptions:
        """Those of a trial. Raises ValueError for one that is unknown or not positive."""
        given = settings.get("training", {})
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise ValueError(unknown("training option", name, cls.__dataclass_fields__))
        options = cls(**given)
        as_dtype(options.dtype)
        rate = options.rate(shape_of(settings["data"])[0])
        numbers: dict[str, Any] = {**asdict(options), "learning_rate": rate}
        for name in ("learning_rate", "epochs", "window"):
            value = numbers[name]
            if isinstance(value, str) or not (math.isfinite(value) and value > 0):
                raise ValueError(f"training {name} must be positive, got {value!r}")
        return options

    def rate(self, n_samples: int) -> float:
        """The learning rate at N samples."""
        if isinstance(self.learning_rate, str):
            return float(evaluate(self.learning_rate, {"N": n_samples}))
        return float(self.learning_rate)


class TrainingMeasure(Measure):
    """The final loss, the first one, and the epochs between them."""

    def check(self, settings: TrialSettings) -> None:
        network = checked_network(settings)
        TrainingOptions.of(settings)
        if network.bias_std is not None or network.residual or network.paired:
            raise ValueError(f"training trials take plain networks without biases, got {network}")
        if network.n_outputs != 1:
            raise ValueError(f"training trials take networks of one output, got {network}")

    def block(self, settings: TrialSettings) -> int:
        return int(settings.get("batch", BLOCK))

    def nbytes(self, settings: TrialSettings) -> float:
        N, widths, weights = sizes(settings)
        # features, pre-activations and signals; weights, gradients, moments; float64 while drawn
        return 8.0 * self.block(settings) * (3 * N * widths + 6 * weights)

    def run(self, settings: TrialSettings, seeds: Sequence[int], device: str) -> list[Result]:
        network, options = network_of(settings), TrainingOptions.of(settings)
        dtype = as_dtype(options.dtype)
        X, Y, weights = [], [], []
        for seed in seeds:
            for_weights, for_data, for_targets = streams(
                settings, seed, "weights", "data", "targets"
            )
            X.append(load_data(settings, for_data))
            targets = as_seed(for_targets, "targets")
            Y.append(torch.randn(len(X[-1]), 1, generator=targets, dtype=torch.float64))
            weights.append([w.detach() for w in network.sample(for_weights, dtype).weights])
        layers = [torch.stack(layer).to(device) for layer in zip(*weights, strict=True)]
        inputs, outputs = (torch.stack(part).to(device, dtype) for part in (X, Y))
        rate = options.rate(inputs.shape[1])
        ended = adam(
            network, layers, inputs, outputs, rate, int(options.epochs), int(options.window)
        )
        columns = {
            "final_loss": ended.loss.tolist(),
            "first_loss": ended.first.tolist(),
            "epochs": [int(n) for n in ended.epochs],
            "rose": [int(r) for r in ended.rose],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
