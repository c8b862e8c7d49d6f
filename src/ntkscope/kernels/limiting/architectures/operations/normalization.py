"""LayerNorm, GroupNorm, RMSNorm, and BatchNorm in eval mode.

Over infinitely many channels the mean of a Gaussian tensor vanishes and its mean square v is a
number, so that S → S/√(v v′) and T → T/√(v v′); a learned scale adds S/√(v v′) to T, a shift 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Law, Node
from ntkscope.kernels.limiting.architectures.operation import (
    Error,
    Operation,
    Passed,
    Seen,
    State,
    U,
)
from ntkscope.kernels.limiting.architectures.pairs import Pairing, same_positions
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True, eq=False)
class Normalization(Operation):
    """u → γ u/√(v + ε), v the mean of V over ``axes``.

    fixed: v where it is a buffer. apart: whether each position has parameters of its own.
    """

    kind: str
    axes: tuple[int, ...]
    epsilon: float
    gain: float
    learns_scale: bool
    learns_shift: bool
    fixed: float | None = None
    apart: bool = False

    def _factor(self, V: Tensor) -> Tensor:
        """1/√(v + ε), to be broadcast over V."""
        if self.fixed is not None:
            return torch.full((1,) * V.ndim, (self.fixed + self.epsilon) ** -0.5, dtype=V.dtype)
        v = V.mean(self.axes, keepdim=True) if self.axes else V
        if self.epsilon == 0.0 and bool((v == 0).any()):
            raise ValueError(f"{self.kind} divides by a variance of 0 and has no eps")
        return torch.rsqrt(v + self.epsilon)

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        (V,) = inputs
        return V * (self._factor(V) * self.gain).square()

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        seen = inputs[0].plain()
        s, t = (self._factor(V).expand_as(V) for V in (seen.left, seen.right))
        rows, cols = at.rows(s), at.cols(t)
        # ½E(su − tv)² without a difference of what is nearly equal
        both = rows * cols
        distance = torch.mul(seen.distance, both)
        distance.addcmul_(rows - cols, at.rows(s * seen.left) - at.cols(t * seen.right), value=0.5)
        tangent = None if seen.tangent is None else (seen.tangent * both).mul_(self.gain**2)
        if self.learns_scale or self.learns_shift:
            own = self._own(at, s * s * seen.left, t * t * seen.right, distance)
            if self.apart and at.pairs:
                kept = torch.zeros_like(own)
                k = seen.left.ndim - 1
                same_positions(kept, k).copy_(same_positions(own, k))
                own = kept
            tangent = own if tangent is None else tangent.add_(own)
        return Passed(distance.mul_(self.gain**2), tangent)

    def _own(self, at: Pairing, left: Tensor, right: Tensor, distance: Tensor) -> Tensor:
        """S behind the division for a learned scale, 1 for a shift."""
        shift = 1.0 if self.learns_shift else 0.0
        if not self.learns_scale:
            return torch.full_like(distance, shift)
        return (at.rows(0.5 * left + shift) - distance).add_(at.cols(0.5 * right))

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        """The part of D that differing norms make loses relative accuracy."""
        (e,) = inputs
        absolute = e.absolute + 8 * U * (seen.spread + 1.0)
        own = e.of_covariance(before[0].spread) + 8 * U * (seen.spread + 1.0)
        return Error(e.relative + 8 * U, absolute, e.angle, max(e.tangent + 8 * U, own))

    @property
    def passes(self) -> float:
        return 8.0


def _uniform(call: Call, tensor: Tensor | None, what: str, default: float) -> float:
    """The one value of a tensor. Raises where channels differ."""
    if tensor is None:
        return default
    low, high = float(tensor.min()), float(tensor.max())
    if high - low > 1e-6 * max(abs(low), abs(high)):
        raise call.refuse(
            f"its {what} differs from channel to channel ({low:.3g} to {high:.3g}), so channels "
            "are not alike; the limit is that of the initial state (reset_parameters(), "
            "reset_running_stats())"
        )
    return high


def _affine(call: Call) -> tuple[float, bool, bool]:
    """(γ, whether γ is learned, whether the shift is)."""
    weight, bias = call.bound.get("weight"), call.bound.get("bias")
    gain = _uniform(call, weight, "scale", 1.0)
    if _uniform(call, bias, "shift", 0.0) != 0.0:
        raise call.refuse("its shift is not 0, so that the mean of its output is not")
    learned = [p is not None and p.learned for p in map(call.parameter, (weight, bias))]
    return gain, learned[0], learned[1]


def _subject(call: Call, centred: bool) -> Node:
    node = call.node(call["input"])
    if node is None:
        raise call.refuse(
            "it normalises the data with parameters of its own; the limit is in the widths of the "
            "layers behind it, so normalise the data before"
        )
    if centred and node.law != Law.GAUSSIAN:
        raise call.refuse(
            "the mean that it removes does not vanish (its input is not Gaussian of mean zero); "
            "put it between weights and activation, or take RMSNorm"
        )
    return node


def _read_over_axes(kind: str, centred: bool) -> None:
    def read(call: Call) -> Made:
        node = _subject(call, centred)
        shape = call["normalized_shape"]
        count = 1 if isinstance(shape, int) else len(shape)
        atoms = [a for axis in node.layout.axes[-count:] for a in axis]
        if CHANNELS not in atoms:
            raise call.refuse("it normalises over positions of one channel, whose mean is random")
        axes = tuple(a for a in atoms if a != CHANNELS)
        if axes and len(axes) != len(node.layout.positions):
            raise call.refuse("it normalises over some of the positions and not over others")
        gain, scale, shift = _affine(call)
        epsilon = call["eps"]
        if epsilon is None:
            epsilon = torch.finfo(torch.float64).eps
        operation = Normalization(kind, axes, float(epsilon), gain, scale, shift, apart=bool(axes))
        return Made(operation, (call["input"],), node.layout, node.law)

    names = "input normalized_shape weight bias eps" if centred else (
        "input normalized_shape weight eps"
    )  # fmt: skip
    reads(
        F.layer_norm if centred else F.rms_norm, names=names,
        defaults={"weight": None, "bias": None, "eps": 1e-5 if centred else None},
    )(read)  # fmt: skip


_read_over_axes("layer norm", centred=True)
_read_over_axes("RMS norm", centred=False)


@reads(
    F.group_norm, names="input num_groups weight bias eps",
    defaults={"weight": None, "bias": None, "eps": 1e-5},
)  # fmt: skip
def _read_group_norm(call: Call) -> Made:
    node = _subject(call, centred=True)
    if node.layout.axes[0] != (CHANNELS,):
        raise call.refuse("it groups an axis that holds no channels")
    if call["num_groups"] == node.layout.channels:
        raise call.refuse(
            "with one channel a group its mean and variance stay random at infinite width; take "
            "fewer groups"
        )
    gain, scale, shift = _affine(call)
    axes = tuple(range(len(node.layout.positions)))
    operation = Normalization("group norm", axes, float(call["eps"]), gain, scale, shift)
    return Made(operation, (call["input"],), node.layout, node.law)


@reads(
    F.batch_norm, names="input running_mean running_var weight bias training momentum eps",
    defaults={"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5},
)  # fmt: skip
def _read_batch_norm(call: Call) -> Made:
    node = _subject(call, centred=False)
    if node.layout.axes[0] != (CHANNELS,):
        raise call.refuse("it normalises an axis that holds no channels")
    if _uniform(call, call["running_mean"], "running mean", 0.0) != 0.0:
        raise call.refuse("its running mean is not 0, so that the mean of its output is not")
    v = _uniform(call, call["running_var"], "running variance", 1.0)
    gain, scale, shift = _affine(call)
    operation = Normalization(
        "batch norm (eval)", (), float(call["eps"]), gain, scale, shift, fixed=v
    )
    return Made(operation, (call["input"],), node.layout, node.law)
