"""The loss that full-batch Adam reaches, for many seeds at once.

The setting of Bombari et al. 2022, Figure 2: Gaussian inputs and targets, mean squared error, stop
when the mean loss of a window of epochs is above that of the window before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.inputs import as_dtype, as_seed
from ntkscope.experiments.design.expressions import evaluate
from ntkscope.experiments.running.trial import Result, streams
from ntkscope.networks.network import Network

Settings = Mapping[str, Any]
BLOCK = 10
_DEFAULTS: dict[str, Any] = {
    "learning_rate": "1/(10*sqrt(N))",
    "epochs": 10_000,
    "window": 100,
    "dtype": "float32",
}


@dataclass(frozen=True)
class Descent:
    """Where training ended, one entry a seed.

    loss: mean loss of the last window that did not rise. epochs: steps taken.
    first: the loss before the first step. rose: whether a rising window ended it.
    """

    loss: Float[Tensor, S]
    epochs: Float[Tensor, S]
    first: Float[Tensor, S]
    rose: Float[Tensor, S]


class TrainingMeasure:
    """``final_loss`` of Adam on Gaussian targets, with the epochs it took."""

    def check(self, settings: Settings) -> None:
        from ntkscope.experiments.measures.kernel_trials import network_of, shape_of

        network = network_of(settings)
        N, d = shape_of(settings["data"])
        options = _options(settings, N)
        as_dtype(options["dtype"])
        for name in ("learning_rate", "epochs", "window"):
            if not (math.isfinite(options[name]) and options[name] > 0):
                raise ValueError(f"training {name} must be positive, got {options[name]!r}")
        if d != network.dim:
            raise ValueError(f"the data have d = {d}, the network takes {network.dim} inputs")
        if network.bias_std is not None or network.residual or network.paired:
            raise ValueError(f"training trials take plain networks without biases, got {network}")
        if network.n_outputs != 1 or not network.finite:
            raise ValueError(f"training trials take finite networks of one output, got {network}")

    def block(self, settings: Settings) -> int:
        return int(settings.get("batch", BLOCK))

    def threads(self, settings: Settings) -> int:
        return int(settings.get("threads", 1))

    def nbytes(self, settings: Settings) -> float:
        from ntkscope.experiments.measures.kernel_trials import shape_of

        N, _ = shape_of(settings["data"])
        widths = [int(n) for n in settings["network"]["widths"]]
        weights = sum(a * b for a, b in itertools.pairwise(widths))
        # features, pre-activations and signals; weights, gradients, moments; float64 while drawn
        return 8.0 * self.block(settings) * (3 * N * sum(widths) + 6 * weights)

    def run(self, settings: Settings, seeds: Sequence[int]) -> list[Result]:
        from ntkscope.experiments.measures.kernel_trials import load_data, network_of

        network = network_of(settings)
        inputs, targets, weights = [], [], []
        dtype = as_dtype(str(_options(settings, 1)["dtype"]))
        for seed in seeds:
            for_weights, for_data, for_targets = streams(
                settings, seed, "weights", "data", "targets"
            )
            X = load_data(settings, for_data)
            y = torch.randn(
                len(X), 1, generator=as_seed(for_targets, "targets"), dtype=torch.float64
            )
            inputs.append(X.to(dtype))
            targets.append(y.to(dtype))
            weights.append([w.detach() for w in network.sample(for_weights, dtype).weights])
        X = torch.stack(inputs)
        options = _options(settings, X.shape[1])
        stacked = [torch.stack(layer) for layer in zip(*weights, strict=True)]
        ended = adam(
            network, stacked, X, torch.stack(targets), float(options["learning_rate"]),
            int(options["epochs"]), int(options["window"]),
        )  # fmt: skip
        return [
            {
                "final_loss": float(ended.loss[i]),
                "first_loss": float(ended.first[i]),
                "epochs": int(ended.epochs[i]),
                "rose": int(ended.rose[i]),
            }
            for i in range(len(seeds))
        ]


def _options(settings: Settings, n_samples: int) -> dict[str, Any]:
    options = {**_DEFAULTS, **settings.get("training", {})}
    if isinstance(options["learning_rate"], str):
        options["learning_rate"] = evaluate(options["learning_rate"], {"N": n_samples})
    return options


def adam(
    network: Network,
    weights: Sequence[Float[Tensor, "S _ _"]],
    X: Float[Tensor, "S N d"],
    Y: Float[Tensor, "S N 1"],
    rate: float,
    epochs: int,
    window: int,
) -> Descent:
    """Full-batch Adam (Kingma and Ba 2015; β = 0.9, 0.999, ε = 1e-8) on S networks at once.

    A seed stops, and leaves the batch, when the mean loss of a window is above its last one.
    """
    first, steps, rose = torch.zeros(3, len(X), dtype=torch.float64, device=X.device)
    loss = torch.full_like(first, math.inf)
    state = _Batch(network, weights, X, Y)
    alive = torch.arange(len(X), device=X.device)
    epoch = 0
    while epoch < epochs and len(alive):
        total = torch.zeros_like(loss[alive])
        length = min(window, epochs - epoch)
        for _ in range(length):
            now = state.step(rate, epoch + 1)
            if epoch == 0:
                first.copy_(now)
            total += now
            epoch += 1
        mean = total / length
        steps[alive] = float(epoch)
        # NaN compares false with everything: a diverged seed must not count as still falling
        falling = mean <= loss[alive]
        rose[alive[~falling]] = 1.0
        loss[alive[falling]] = mean[falling]
        if not bool(falling.all()):
            state.keep(falling)
            alive = alive[falling]
    return Descent(loss, steps, first, rose)


class _Batch:
    """The weights of S networks as one tensor (S, p), its moments, and the buffers of a step."""

    def __init__(self, network: Network, weights: Sequence[Tensor], X: Tensor, Y: Tensor) -> None:
        self.network, self.X, self.Y = network, X, Y
        self.shapes = [w.shape[1:] for w in weights]
        self.flat = torch.cat([w.flatten(1) for w in weights], dim=1)
        self.first = torch.zeros_like(self.flat)
        self.second = torch.zeros_like(self.flat)
        self._bind()

    def _bind(self) -> None:
        self.gradient = torch.empty_like(self.flat)
        sizes = [math.prod(shape) for shape in self.shapes]
        count = len(self.flat)

        def views(flat: Tensor) -> list[Tensor]:
            parts = flat.split(sizes, dim=1)
            return [p.view(count, *shape) for p, shape in zip(parts, self.shapes, strict=True)]

        self.weights, self.gradients = views(self.flat), views(self.gradient)

    def keep(self, mask: Tensor) -> None:
        """Drop the seeds that stopped."""
        self.X, self.Y = self.X[mask], self.Y[mask]
        self.flat, self.first, self.second = (
            t[mask].contiguous() for t in (self.flat, self.first, self.second)
        )
        self._bind()

    def step(self, rate: float, count: int) -> Tensor:
        """One Adam step; the loss before it, one a seed."""
        loss = self._differentiate()
        self.first.lerp_(self.gradient, 0.1)
        self.second.mul_(0.999).addcmul_(self.gradient, self.gradient, value=0.001)
        correction = math.sqrt(1 - 0.999**count)
        denominator = (self.second.sqrt() / correction).add_(1e-8)
        self.flat.addcdiv_(self.first, denominator, value=-rate / (1 - 0.9**count))
        return loss

    def _differentiate(self) -> Tensor:
        phi, scales = self.network.activation, self.network.scales
        features, slopes = [self.X], []
        for weight, scale in zip(self.weights[:-1], scales[:-1], strict=True):
            G = torch.bmm(features[-1], weight)
            G = G.mul_(scale) if scale != 1.0 else G
            features.append(phi(G))
            slopes.append(phi.derivative(G))
        residual = torch.bmm(features[-1], self.weights[-1]).mul_(scales[-1]).sub_(self.Y)
        loss = residual.double().square().mean(dim=(1, 2))
        signal = residual.mul_(2.0 / self.X.shape[1])
        for l in range(len(self.weights) - 1, -1, -1):
            signal = signal * scales[l] if scales[l] != 1.0 else signal
            torch.bmm(features[l].mT, signal, out=self.gradients[l])
            if l:
                signal = torch.bmm(signal, self.weights[l].mT).mul_(slopes[l - 1])
        return loss
