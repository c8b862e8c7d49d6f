"""Multiplication by a constant."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.limiting.architectures.operation import Operation, Passed, State
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads
from ntkscope.kernels.limiting.architectures.refusals import reason_for


@dataclass(frozen=True, eq=False)
class Scaling(Operation):
    """S → s² S, T → s² T."""

    factor: float
    kind = "scaling"

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        return inputs[0] * self.factor**2

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        del at
        (seen,) = inputs
        return Passed(seen.distance, seen.tangent, seen.scale * self.factor**2).bounded()

    def describe(self) -> str:
        return f"scaling by {self.factor:.6g}"


def _scaled(call: Call, x: Tensor, factor: object, inverse: bool) -> Made:
    node = call.node(x)
    constant = not isinstance(factor, Tensor) or (factor.ndim == 0 and call.node(factor) is None)
    if node is None or not constant:
        raise call.refuse(reason_for("mul"))
    number = float(factor)  # type: ignore[arg-type]
    return Made(Scaling(1.0 / number if inverse else number), (x,), node.layout, node.law)


@reads(
    torch.mul, torch.multiply, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__,
    Tensor.__imul__, names="input other",
)  # fmt: skip
def _read_product(call: Call) -> Made:
    x, factor = call["input"], call["other"]
    if not isinstance(x, Tensor) or x.ndim == 0:
        x, factor = factor, x
    for tensor in (x, factor):
        parameter = call.parameter(tensor)
        if parameter is not None:
            raise call.refuse(f"it multiplies by the parameter {parameter.name}")
    return _scaled(call, x, factor, inverse=False)


@reads(torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.div_, Tensor.__truediv__,
       Tensor.__itruediv__, names="input other")  # fmt: skip
def _read_quotient(call: Call) -> Made:
    return _scaled(call, call["input"], call["other"], inverse=True)


@reads(torch.neg, Tensor.neg, Tensor.__neg__, torch.negative)
def _read_negative(call: Call) -> Made:
    return _scaled(call, call["input"], -1.0, inverse=False)
