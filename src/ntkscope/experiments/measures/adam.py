"""Full-batch Adam on many small networks at once: the seeds of a block as a batch axis.

Bombari et al. 2022, Figure 2: mean squared error; a network stops when the mean loss of a window of
epochs is above that of the window before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.networks.network import Network


@dataclass(frozen=True)
class Descent:
    """Where training ended, one entry a network.

    loss: mean loss of the last window that did not rise. epochs: steps taken.
    first: the loss before the first step. rose: whether a rising window ended it.
    """

    loss: Float[Tensor, S]
    epochs: Float[Tensor, S]
    first: Float[Tensor, S]
    rose: Float[Tensor, S]


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

    A network stops, and leaves the batch, when the mean loss of a window is above its last one.
    """
    first, taken, rose = torch.zeros(3, len(X), dtype=torch.float64, device=X.device)
    loss = torch.full_like(first, math.inf)
    batch = _Batch(network, weights, X, Y)
    running = torch.arange(len(X), device=X.device)  # the places of those that have not stopped
    epoch = 0
    while epoch < epochs and len(running):
        total = torch.zeros_like(loss[running])
        length = min(window, epochs - epoch)
        for _ in range(length):
            now = batch.step(rate, epoch + 1)
            if epoch == 0:
                first.copy_(now)
            total += now
            epoch += 1
        mean = total / length
        # NaN compares false with everything: a diverged network must not count as still falling
        falling = mean <= loss[running]
        taken[running] = float(epoch)
        rose[running[~falling]] = 1.0
        loss[running[falling]] = mean[falling]
        if not bool(falling.all()):
            batch.keep(falling)
            running = running[falling]
    return Descent(loss, taken, first, rose)


class _Batch:
    """The weights of S networks as one tensor (S, p), Adam's moments, and the gradient."""

    def __init__(self, network: Network, weights: Sequence[Tensor], X: Tensor, Y: Tensor) -> None:
        self.network, self.X, self.Y = network, X, Y
        self.shapes = [weight.shape[1:] for weight in weights]
        self.parameters = torch.cat([weight.flatten(1) for weight in weights], dim=1)
        self.mean = torch.zeros_like(self.parameters)
        self.square = torch.zeros_like(self.parameters)
        self._bind()

    def _bind(self) -> None:
        self.gradient = torch.empty_like(self.parameters)
        self.weights, self.gradients = self._layers(self.parameters), self._layers(self.gradient)

    def _layers(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [p.view(len(flat), *shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def keep(self, mask: Tensor) -> None:
        """Drop the networks that stopped."""
        for name in ("X", "Y", "parameters", "mean", "square"):
            setattr(self, name, getattr(self, name)[mask])
        self._bind()

    def step(self, rate: float, count: int) -> Float[Tensor, S]:
        """Adam's step number ``count``; the loss before it."""
        loss = self._differentiate()
        self.mean.lerp_(self.gradient, 0.1)
        self.square.mul_(0.999).addcmul_(self.gradient, self.gradient, value=0.001)
        denominator = (self.square.sqrt() / math.sqrt(1 - 0.999**count)).add_(1e-8)
        self.parameters.addcdiv_(self.mean, denominator, value=-rate / (1 - 0.9**count))
        return loss

    def _differentiate(self) -> Float[Tensor, S]:
        """The losses; their gradients go to ``self.gradient``."""
        activation, scales = self.network.activation, self.network.scales
        features, slopes = [self.X], []
        for weight, scale in zip(self.weights[:-1], scales[:-1], strict=True):
            G = _scaled(torch.bmm(features[-1], weight), scale)
            features.append(activation(G))
            slopes.append(activation.derivative(G))
        output = torch.bmm(features[-1], self.weights[-1])
        residual = output.mul_(scales[-1]).sub_(self.Y)
        loss = residual.double().square().mean(dim=(1, 2))
        signal = residual.mul_(2.0 / self.X.shape[1])
        for l in range(len(self.weights) - 1, -1, -1):
            signal = _scaled(signal, scales[l])
            torch.bmm(features[l].mT, signal, out=self.gradients[l])
            if l:
                signal = torch.bmm(signal, self.weights[l].mT).mul_(slopes[l - 1])
        return loss


def _scaled(values: Tensor, scale: float) -> Tensor:
    """``scale`` · values, in place: a product with 1 would be a pass over the memory for nothing."""
    return values.mul_(scale) if scale != 1.0 else values
