"""Linear and convolutional layers: sums over inputs with weights of their own.

y_c[p] = Σ_{c′, δ} w_{cc′δ} x_{c′}[p + δ] + b_c with independent weights of variance β² and biases of
variance b² gives S → β² n A(S) + b², A(S)[p, p′] = Σ_δ S[p+δ, p′+δ] and n the inputs a channel
of the group (Novak et al. 2019, eq. 9; Arora et al. 2019, §4), and T → β² n A(T) + own, where own is
n A(S) + 1 in the units of the weights themselves and β² n A(S) + b² in the "ntk" parameterization.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Law, Layout
from ntkscope.kernels.limiting.architectures.operation import (
    Error,
    Operation,
    Passed,
    Seen,
    State,
    U,
)
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads
from ntkscope.kernels.limiting.architectures.windows import Window


@dataclass(frozen=True, eq=False)
class Weights(Operation):
    """fan: n. windows: of A, none where positions stay apart. flattens: A sums over all positions.

    ``positions`` is how many those are.
    """

    kind: str
    fan: float
    weight_variance: float
    bias_variance: float
    learns_weight: bool
    learns_bias: bool
    ntk: bool
    windows: tuple[Window, ...] = ()
    flattens: bool = False
    positions: int = 1
    fresh = True

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        gain = self.weight_variance * self.fan
        return gain * self._gather(inputs[0], inputs[0].ndim - 1, False) + self.bias_variance

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        (seen,) = inputs
        k = seen.left.ndim - 1
        distance, halves = self._distance(seen, k, at)
        gain = self.weight_variance * self.fan
        # β² n stays outside, but for weights that are 0 beside their own term
        outside = gain if gain > 2.0**-100 else 1.0
        scale = seen.scale * outside
        tangent = None if seen.tangent is None else self._gather(seen.tangent, k, at.pairs)
        fresh = self.flattens or any(w.moves for w in self.windows)
        if tangent is not None and outside != gain:
            tangent, fresh = tangent * gain, True
        own = (gain if self.ntk else self.fan) / outside if self.learns_weight else 0.0
        bias = (self.bias_variance if self.ntk else 1.0) / scale if self.learns_bias else 0.0
        if own or bias:
            # S = ½(V + V′) − D
            rows, cols = at.rows(halves[0] * own + bias), at.cols(halves[1] * own)
            tangent = rows + cols if tangent is None else (
                tangent.add_(rows).add_(cols) if fresh else (tangent + rows).add_(cols)
            )  # fmt: skip
            tangent.sub_(distance, alpha=own)
        return Passed(distance if outside == gain else distance * gain, tangent, scale).bounded()

    def _distance(self, seen: State, k: int, at: Pairing) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A(D) with zeros outside the image, and ½A(V) of both sides, in the units of ``seen``."""
        rows, cols = seen.left * (0.5 / seen.scale), seen.right * (0.5 / seen.scale)
        if self.flattens or not at.pairs:
            halves = self._gather(rows, k, False), self._gather(cols, k, False)
            return self._gather(seen.distance, k, False), halves
        distance = seen.distance
        for w in self.windows:
            distance = w.pairs(distance, k, (at.rows(rows), at.cols(cols)))
            rows, cols = w.single(rows), w.single(cols)
        return distance, (rows, cols)

    def _gather(self, x: Tensor, k: int, pairs: bool) -> Tensor:
        """A of a covariance or of variances (one dimension a position axis then)."""
        if self.flattens:
            return x.sum(tuple(range(k))) if k else x
        for w in self.windows:
            x = w.pairs(x, k) if pairs else w.single(x)
        return x

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        """Every term of D is nonnegative; T and its own term are sums of kernels."""
        del seen
        (e,) = inputs
        terms = math.prod(w.size for w in self.windows) + (self.positions if self.flattens else 0)
        rounding = (terms + 8) * U
        own = Error(e.relative + rounding, e.absolute, e.angle, 0.0).of_covariance(before[0].spread)
        return Error(e.relative + rounding, e.absolute, e.angle, max(e.tangent, own) + rounding)

    def describe(self) -> str:
        window = "×".join(str(w.size) for w in self.windows)
        bias = f", b² = {self.bias_variance:.3g}" if self.bias_variance else ""
        flat = " over all positions" if self.flattens else ""
        return f"{self.kind}{' ' + window if window else ''}{flat}, n = {self.fan:g}, " + (
            f"β² = {self.weight_variance:.3g}{bias}"
        )

    @property
    def passes(self) -> float:
        return 4.0 + 8.0 * len(self.windows)


def _made(
    call: Call, kind: str, tensor: Tensor, layout: Layout, fan: float, windows: tuple[Window, ...],
    positions: int = 0, single: bool = False,
) -> Made:  # fmt: skip
    weight, bias = call.parameter(call["weight"]), call.parameter(call["bias"])
    if weight is None:
        raise call.refuse("its weight is not a parameter of the model")
    operation = Weights(
        kind, fan, weight.variance, 0.0 if bias is None else bias.variance,
        weight.learned, bias is not None and bias.learned, call.ntk, windows, positions > 0,
        positions,
    )  # fmt: skip
    law = Law.FEATURES if single else Law.GAUSSIAN
    return Made(operation, (tensor,), layout, law, origin=True)


@reads(F.linear, names="input weight bias", defaults={"bias": None})
def _read_linear(call: Call) -> Made:
    x = call["input"]
    weight = call["weight"]
    node = call.enter(x, channel_axis=-1)
    last = node.layout.axes[-1]
    if CHANNELS not in last:
        raise call.refuse("its weights meet an axis of positions, which are not independent")
    inside = [a for a in last if a != CHANNELS]
    if inside and len(inside) != len(node.layout.positions):
        raise call.refuse("it flattens some of the positions and leaves others")
    positions = () if inside else node.layout.positions
    axes = (*node.layout.axes[:-1], (CHANNELS,))
    layout = Layout(len(weight), positions, axes)
    return _made(
        call,
        "linear",
        x,
        layout,
        float(node.layout.channels),
        (),
        node.layout.n_positions if inside else 0,
    )


def _read_convolution(call: Call) -> Made:
    x, weight, out = call["input"], call["weight"], call.out
    d = weight.ndim - 2
    if x.ndim != d + 2:
        raise call.refuse("it convolves a single sample without its batch axis")
    node = call.enter(x, channel_axis=1)
    if any(len(atoms) != 1 for atoms in node.layout.axes) or node.layout.axes[0] != (CHANNELS,):
        raise call.refuse(
            "its input has no channels behind the batch, or positions that are joined"
        )
    kernel = tuple(weight.shape[2:])
    stride, dilation = each(call["stride"], d), each(call["dilation"], d)
    padding = call["padding"]
    if padding == "same":
        totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        before = tuple(t // 2 for t in totals)
        after = tuple(t - t // 2 for t in totals)
    else:
        before = after = (0,) * d if padding == "valid" else each(padding, d)
    spatial = [atoms[0] for atoms in node.layout.axes[1:]]
    windows = tuple(
        Window(a, kernel[i], stride[i], before[i], after[i], dilation[i])
        for i, a in enumerate(spatial)
    )
    positions = list(node.layout.positions)
    for i, a in enumerate(spatial):
        positions[a] = out.shape[2 + i]
    fan = weight.shape[1]
    layout = Layout(len(weight), tuple(positions), node.layout.axes)
    # a channel of its own to each output: no sum of many, and not the same for all of them
    single = call["groups"] > 1 and (fan == 1 or call.is_entry(x))
    return _made(call, f"conv{d}d", x, layout, float(fan), windows, 0, single)


for _function in (torch.conv1d, torch.conv2d, torch.conv3d):
    reads(
        _function, names="input weight bias stride padding dilation groups",
        defaults={"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    )(_read_convolution)  # fmt: skip


def each(value: int | tuple[int, ...] | list[int], d: int) -> tuple[int, ...]:
    """One number for each of d axes."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(int(v) for v in (values * d if len(values) == 1 else values))
