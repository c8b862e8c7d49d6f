"""Linear and convolutional layers: sums over inputs with weights of their own.

y_c[p] = Σ_{c′, δ} w_{cc′δ} x_{c′}[p + δ] + b_c with independent weights of variance β² and biases of
variance b² gives S → β² n A(S) + b², A(S)[p, p′] = Σ_δ S[p+δ, p′+δ] and n the inputs a channel
of the group (Novak et al. 2019, eq. 9; Arora et al. 2019, §4), and T → β² n A(T) + own, where own is
n A(S) + 1 in the units of the weights themselves and β² n A(S) + b² in the "ntk" parameterization.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Law, Layout
from ntkscope.kernels.limiting.architectures.operation import Error, Operation, Seen, State, U
from ntkscope.kernels.limiting.architectures.pairs import Pairing, along, dims, window_sum
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True)
class Window:
    """A convolution's window along one position axis."""

    axis: int
    size: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def padded(self) -> bool:
        return self.before > 0 or self.after > 0

    @lru_cache(maxsize=64)  # noqa: B019, windows are values
    def matrix(self, length: int) -> Tensor:
        """The sums over the window along an axis of ``length`` positions, (out, in)."""
        unit = torch.eye(length, dtype=torch.float64)
        return window_sum(
            unit, (0,), self.size, self.stride, self.before, self.after, self.dilation
        )


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

    def propagate(self, inputs: list[State], at: Pairing) -> tuple[Tensor, Tensor | None]:
        (seen,) = inputs
        k = seen.left.ndim - 1
        pairs = at.pairs and not self.flattens
        distance = self._gather(seen.distance, k, pairs)
        if pairs and any(w.padded for w in self.windows):
            rows, cols = self._border(seen.left, at), self._border(seen.right, at, left=False)
            distance = (distance + rows).add_(cols) if distance is seen.distance else (
                distance.add_(rows).add_(cols)
            )  # fmt: skip
        tangent = None if seen.tangent is None else self._gather(seen.tangent, k, pairs)
        gain = self.weight_variance * self.fan
        if tangent is not None:
            tangent = tangent * gain if tangent is seen.tangent else tangent.mul_(gain)
        if self.learns_weight:
            scale = gain if self.ntk else self.fan
            rows = at.rows(self._gather(seen.left, k, False) * (0.5 * scale), at.pairs)
            cols = at.cols(self._gather(seen.right, k, False) * (0.5 * scale), at.pairs)
            # S = ½(V + V′) − D
            tangent = rows + cols if tangent is None else tangent.add_(rows).add_(cols)
            tangent.sub_(distance, alpha=scale)
        bias = self.bias_variance if self.ntk else 1.0
        if self.learns_bias:
            tangent = torch.full_like(distance, bias) if tangent is None else tangent.add_(bias)
        fresh = distance is not seen.distance
        return distance.mul_(gain) if fresh else distance * gain, tangent

    def _gather(self, x: Tensor, k: int, pairs: bool) -> Tensor:
        """A of a covariance or of variances (one dimension a position axis then)."""
        if self.flattens:
            return x.sum(tuple(range(k))) if k else x
        for w in self.windows:
            if pairs:
                where = dims(w.axis, k, pairs)
                x = window_sum(x, where, w.size, w.stride, w.before, w.after, w.dilation)
            else:
                x = along(w.matrix(x.shape[w.axis]), x, w.axis)
        return x

    def _border(self, V: Tensor, at: Pairing, left: bool = True) -> Tensor:
        """½ Σ_δ V[p+δ] over the offsets that leave the image at p′ and not at p.

        There v is 0 and D = ½V, which sums over pairs inside the image do not have.
        """
        side = at.left if left else at.right
        made = side.borders.get(at.node)
        k = V.ndim - 1
        if made is None:
            # (*P, *P, N) of V[p], constant in p′
            wide = V.reshape(*V.shape[:-1], *(1,) * k, V.shape[-1])
            wide = wide.expand(*V.shape[:-1], *V.shape[:-1], V.shape[-1])
            both = wide
            for w in self.windows:
                where = (w.axis, k + w.axis)
                both = window_sum(both, where, w.size, w.stride, w.before, w.after, w.dilation)
            single = self._gather(V, k, False)
            single = single.reshape(*single.shape[:-1], *(1,) * k, V.shape[-1])
            made = 0.5 * (single - both)  # exactly 0 where no offset leaves: the sums are the same
            side.borders[at.node] = made
        out = made.shape[:k]
        if left:
            if at.listed:
                return made.reshape(*out, 1, *out, 1, -1)
            return made.movedim(-1, k)[..., None, None]
        order = (*range(k, 2 * k), *range(k), 2 * k)
        turned = made.permute(order)
        return turned.reshape(*out, 1, *out, *((1, -1) if at.listed else (-1, 1)))

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
