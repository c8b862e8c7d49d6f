"""Sums of independent branches, and concatenation over channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Law, Layout, Node
from ntkscope.kernels.limiting.architectures.operation import Operation, Passed, State
from ntkscope.kernels.limiting.architectures.operations.shape import Same
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True, eq=False)
class WeightedSum(Operation):
    """S → Σ w_i S_i, T → Σ w_i T_i: a sum (w = 1) or a concatenation (w = shares of channels)."""

    kind: str
    shares: tuple[float, ...]

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        total = inputs[0] * self.shares[0]
        for part, share in zip(inputs[1:], self.shares[1:], strict=True):
            total.add_(part, alpha=share)
        return total

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        del at
        scales = [w * s.scale for w, s in zip(self.shares, inputs, strict=True)]
        distance = _total([s.distance for s in inputs], scales)
        assert distance is not None
        return Passed(distance, _total([s.tangent for s in inputs], scales), scales[0])


def _total(parts: list[Tensor | None], scales: list[float]) -> Tensor | None:
    """Σ of scales × parts that there are, in units of the first scale."""
    total: Tensor | None = None
    for part, scale in zip(parts, scales, strict=True):
        if part is not None:
            ratio = scale / scales[0]
            if total is None:
                total = part if ratio == 1.0 else part * ratio
            else:
                total = torch.add(total, part, alpha=ratio)
    return total


def _independent(call: Call, one: Node, two: Node) -> None:
    """Raise unless weights of one branch alone, of mean zero, stand in every product of both.

    Two summands are uncorrelated where one ends in weights that the other does not depend on.
    """
    for a in call.origins(one):
        for b in call.origins(two):
            free = [x.operation.fresh and x.index not in y.ancestors for x, y in ((a, b), (b, a))]
            if a.index == b.index or not any(free):
                raise call.refuse(
                    f"its branches are correlated (both carry what {a.where} and {b.where} give); "
                    "end one of them in weights of its own"
                )


def _read_sum(call: Call) -> Made:
    first, second = call["input"], call["other"]
    if call["alpha"] != 1:
        raise call.refuse("it adds with a factor (alpha); scale the branch before")
    for x in (first, second):
        if not isinstance(x, Tensor) or x.ndim == 0:
            if float(x) == 0.0:
                other = second if x is first else first
                node = call.node(other)
                assert node is not None
                return Made(Same("identity"), (other,), node.layout, node.law)
            raise call.refuse("it adds a constant to all channels, whose mean is then not zero")
    for x in (first, second):
        parameter = call.parameter(x)
        if parameter is not None:
            raise call.refuse(
                f"it adds the parameter {parameter.name}; only the biases of layers have a rule"
            )
    if first.shape != second.shape:
        raise call.refuse(
            f"it adds tensors of shapes {tuple(first.shape)} and {tuple(second.shape)}"
        )
    known = call.node(first) or call.node(second)
    assert known is not None
    one, two = (call.enter_as(x, known.layout) for x in (first, second))
    if one.layout != two.layout:
        raise call.refuse("its branches do not keep channels and positions on the same axes")
    _independent(call, one, two)
    gaussian = one.law == two.law == Law.GAUSSIAN
    return Made(
        WeightedSum("sum", (1.0, 1.0)), (first, second), one.layout,
        Law.GAUSSIAN if gaussian else Law.MIXED,
    )  # fmt: skip


reads(
    torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__,
    torch.sub, Tensor.sub, Tensor.sub_, Tensor.__sub__, Tensor.__rsub__, Tensor.__isub__,
    names="input other alpha", defaults={"alpha": 1},
)(_read_sum)  # fmt: skip


@reads(torch.cat, torch.concat, torch.concatenate, names="tensors dim", defaults={"dim": 0})
def _read_concatenation(call: Call) -> Made:
    parts = list(call["tensors"])
    known = next(n for n in map(call.node, parts) if n is not None)
    axis = call["dim"] % parts[0].ndim
    if axis == 0 or known.layout.axes[axis - 1] != (CHANNELS,):
        raise call.refuse("it concatenates along positions or samples, and not along channels")
    nodes = []
    for part in parts:
        layout = Layout(part.shape[axis], known.layout.positions, known.layout.axes)
        nodes.append(call.enter_as(part, layout))
    if any(n.layout.axes != known.layout.axes for n in nodes):
        raise call.refuse("its branches do not keep channels and positions on the same axes")
    channels = sum(n.layout.channels for n in nodes)
    layout = Layout(channels, known.layout.positions, known.layout.axes)
    shares = tuple(n.layout.channels / channels for n in nodes)
    # channels of several variances: weights may follow, an activation may not
    return Made(WeightedSum("concatenation", shares), tuple(parts), layout, Law.MIXED)
