"""Flattening, reshaping and permuting: the axes change, the covariances do not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import Layout
from ntkscope.kernels.limiting.architectures.operation import Operation, Passed, State
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True, eq=False)
class Same(Operation):
    """What leaves every covariance as it is."""

    kind: str

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        return inputs[0]

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        del at
        return Passed(inputs[0].distance, inputs[0].tangent, inputs[0].scale)

    @property
    def passes(self) -> float:
        return 0.0


def _same(call: Call, kind: str, axes: tuple[tuple[int, ...], ...]) -> Made:
    x = call["input"]
    node = call.node(x)
    assert node is not None
    layout = Layout(node.layout.channels, node.layout.positions, axes)
    return Made(Same(kind), (x,), layout, node.law)


def _axes(call: Call) -> tuple[tuple[int, ...], ...]:
    node = call.node(call["input"])
    assert node is not None
    return node.layout.axes


@reads(
    torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view, Tensor.view_as,
    Tensor.reshape_as, torch.unflatten, Tensor.unflatten,
)  # fmt: skip
def _read_reshape(call: Call) -> Made:
    """Axes may be joined, and taken apart where they were joined."""
    node = call.node(call["input"])
    assert node is not None
    atoms = [a for axis in node.layout.axes for a in axis]
    axes = []
    for target in call.out.shape[1:]:
        taken: list[int] = []
        size = 1
        while size < target and atoms:
            taken.append(atoms.pop(0))
            size *= node.layout.size(taken[-1])
        if size != target:
            raise call.refuse(
                f"it reshapes {tuple(call['input'].shape)} to {tuple(call.out.shape)}, which "
                "splits channels or positions, or mixes samples"
            )
        axes.append(tuple(taken))
    if axes and any(node.layout.size(a) != 1 for a in atoms):
        raise call.refuse("it reshapes samples into positions")
    if axes:
        axes[-1] += tuple(atoms)
    return _same(call, "reshape", tuple(axes))


@reads(torch.permute, Tensor.permute, torch.transpose, Tensor.transpose, torch.swapaxes,
       Tensor.swapaxes, torch.movedim, Tensor.movedim)  # fmt: skip
def _read_permute(call: Call) -> Made:
    """By the order that a tensor of axis numbers comes out in."""
    x = call["input"]
    n = x.ndim
    with torch._C.DisableTorchFunction():
        probe = torch.empty([2 + i for i in range(n)])
        order = [s - 2 for s in call.function(probe, *call.args[1:], **_rest(call)).shape]
    if order[0] != 0:
        raise call.refuse("it moves the samples from the first axis")
    axes = _axes(call)
    return _same(call, "permute", tuple(axes[i - 1] for i in order[1:]))


@reads(torch.squeeze, Tensor.squeeze)
def _read_squeeze(call: Call) -> Made:
    x = call["input"]
    rest = [*call.args[1:], *_rest(call).values()]
    if rest:
        asked = rest[0] if isinstance(rest[0], (tuple, list)) else (rest[0],)
        dropped = {a % x.ndim for a in asked if x.shape[a] == 1}
    else:
        dropped = {i for i, n in enumerate(x.shape) if n == 1}
    return _same(
        call, "squeeze", tuple(a for i, a in enumerate(_axes(call), 1) if i not in dropped)
    )


def _rest(call: Call) -> dict[str, object]:
    return {k: v for k, v in call.kwargs.items() if k != "input"}


@reads(
    Tensor.contiguous, torch.clone, Tensor.clone, Tensor.to, Tensor.double, Tensor.float,
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    names="input p training", defaults={"p": 0.5, "training": False},
)  # fmt: skip
def _read_identity(call: Call) -> Made:
    return _same(call, "identity", _axes(call))
