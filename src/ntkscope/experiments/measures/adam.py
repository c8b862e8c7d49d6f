"""Full-batch Adam on many small networks at once: the seeds of a block as a batch axis.

Bombari et al. 2022, Figure 2: mean squared error; a network stops when the mean loss of a window of
epochs is above that of the window before.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    with _stream(X.device):
        return _descend(network, weights, X, Y, _corrections(rate, epochs, X.device), window)


def _descend(
    network: Network,
    weights: Sequence[Tensor],
    X: Tensor,
    Y: Tensor,
    corrections: Tensor,
    window: int,
) -> Descent:
    batch, epochs = _Batch(network, weights, X, Y, corrections), len(corrections)
    first, (taken, rose) = batch.losses(), torch.zeros(2, len(X), dtype=torch.float64, device=X.device)  # fmt: skip
    loss = torch.full_like(first, math.inf)
    running = torch.arange(len(X), device=X.device)  # the places of those that have not stopped
    epoch = 0
    while epoch < epochs and len(running):
        length = min(window, epochs - epoch)
        mean = batch.run(epoch, length) / length
        epoch += length
        # NaN compares false with everything: a diverged network must not count as still falling
        falling = mean <= loss[running]
        taken[running] = float(epoch)
        rose[running[~falling]] = 1.0
        loss[running[falling]] = mean[falling]
        if not bool(falling.all()):
            batch.keep(falling)
            running = running[falling]
    return Descent(loss, taken, first, rose)


def _corrections(rate: float, epochs: int, device: torch.device) -> Float[Tensor, "epochs 2"]:
    """rate / (1 − β_1^t) and √(1 − β_2^t) of the steps t = 1, …, epochs."""
    t = torch.arange(1, epochs + 1, dtype=torch.float64)
    made = torch.stack([rate / (1 - 0.9**t), (1 - 0.999**t).sqrt()], dim=1)
    return made.to(device)


_RECORDING = threading.Lock()  # memory is given back to no one while a thread records


@contextmanager
def _stream(device: torch.device) -> Iterator[None]:
    """On a GPU a stream of one's own: the default one cannot be recorded, and threads would share it."""
    if device.type != "cuda":
        yield
        return
    own, before = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    own.wait_stream(before)
    with torch.cuda.stream(own):
        yield
    before.wait_stream(own)
    with _RECORDING:  # torch keeps what a stream and a recording took for them alone
        torch.cuda.empty_cache()


class _Batch:
    """The weights of S networks as one tensor (S, p), Adam's moments, and the gradient."""

    def __init__(
        self, network: Network, weights: Sequence[Tensor], X: Tensor, Y: Tensor, corrections: Tensor
    ) -> None:
        self.network, self.X, self.Y, self.corrections = network, X, Y, corrections
        self.shapes = [weight.shape[1:] for weight in weights]
        self.parameters = torch.cat([weight.flatten(1) for weight in weights], dim=1)
        self.mean = torch.zeros_like(self.parameters)
        self.square = torch.zeros_like(self.parameters)
        self._bind()

    def _bind(self) -> None:
        self.gradient = torch.empty_like(self.parameters)
        self.weights, self.gradients = self._layers(self.parameters), self._layers(self.gradient)
        self._recorded: _Recorded | None = None

    def _layers(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([math.prod(shape) for shape in self.shapes], dim=1)
        return [p.view(len(flat), *shape) for p, shape in zip(parts, self.shapes, strict=True)]

    def keep(self, mask: Tensor) -> None:
        """Drop the networks that stopped."""
        for name in ("X", "Y", "parameters", "mean", "square"):
            setattr(self, name, getattr(self, name)[mask])
        self._bind()

    def run(self, epoch: int, length: int) -> Float[Tensor, S]:
        """So many of Adam's steps after the first ``epoch``; the sum of the losses before each."""
        if self.X.device.type == "cuda":
            if self._recorded is None:
                self._recorded = _Recorded(self)
            return self._recorded.run(epoch, length)
        total = torch.zeros(len(self.X), dtype=torch.float64)
        for rate, root in self.corrections[epoch : epoch + length].tolist():
            total += self.step(rate, root)
        return total

    def step(self, rate: float | Tensor, root: float | Tensor) -> Float[Tensor, S]:
        """A step of Adam with its corrected rate and root of its second correction; the loss before it."""
        loss = self.losses()
        self.mean.lerp_(self.gradient, 0.1)
        self.square.mul_(0.999).addcmul_(self.gradient, self.gradient, value=0.001)
        denominator = self.square.sqrt().div_(root).add_(1e-8)
        self.parameters.sub_(torch.div(self.mean, denominator, out=denominator).mul_(rate))
        return loss

    def losses(self) -> Float[Tensor, S]:
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
            _into(self.gradients[l], features[l], signal)
            if l:
                signal = torch.bmm(signal, self.weights[l].mT).mul_(slopes[l - 1])
        return loss


class _Recorded:
    """A step on a GPU as one launch: its forty small kernels take less time than their launches.

    The steps are those of :meth:`_Batch.step`, recorded once for the networks that are left.
    """

    def __init__(self, batch: _Batch) -> None:
        device = batch.X.device
        self.total = torch.zeros(len(batch.X), dtype=torch.float64, device=device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        batch.losses()  # what libraries set up in their first call cannot be recorded
        self.graph = torch.cuda.CUDAGraph()
        with _RECORDING:
            torch.cuda.current_stream(device).synchronize()
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                rate, root = batch.corrections.index_select(0, self.place)[0]
                self.total += batch.step(rate, root)
                self.place += 1
            finally:
                self.graph.capture_end()

    def run(self, epoch: int, length: int) -> Float[Tensor, S]:
        self.total.zero_()
        self.place.fill_(epoch)
        for _ in range(length):
            self.graph.replay()
        return self.total.clone()


_PARTS = 32  # of the samples, a product of its own each on a GPU


def _into(gradient: Float[Tensor, "S n m"], left: Float[Tensor, "S N n"], right: Float[Tensor, "S N m"]) -> None:  # fmt: skip
    """Write leftᵀ right. One long sum for few entries would leave most of a GPU idle, so it is cut in parts."""
    S, N, n = left.shape
    parts = math.gcd(N, _PARTS) if left.device.type == "cuda" else 1
    if parts == 1:
        torch.bmm(left.mT, right, out=gradient)
        return
    cut = [t.reshape(S * parts, N // parts, -1) for t in (left, right)]
    torch.sum(torch.bmm(cut[0].mT, cut[1]).view(S, parts, n, -1), 1, out=gradient)


def _scaled(values: Tensor, scale: float) -> Tensor:
    """``scale`` · values, in place: a product with 1 would be a pass over the memory for nothing."""
    return values.mul_(scale) if scale != 1.0 else values
