"""Elementwise activations: modules, functions, and the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.custom import custom
from ntkscope.activations.registry import activation as named
from ntkscope.kernels.limiting.architectures.graph import Law
from ntkscope.kernels.limiting.architectures.operation import (
    Error,
    Operation,
    Passed,
    Seen,
    State,
)
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads
from ntkscope.kernels.limiting.architectures.through import Through, through


@dataclass(frozen=True, eq=False)
class Elementwisely(Operation):
    """S → E φφ, T → T ∘ E φ′φ′ of Gaussians with the covariance S."""

    phi: Activation
    kind = "activation"
    way: Through = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "way", through(self.phi))

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        return self.way.moment(inputs[0])

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        gain = self.way.gain
        seen = inputs[0].plain() if gain is None else inputs[0]
        scale, shape = seen.scale, seen.distance.shape
        D, a, b = at.blocks(seen.distance, seen.left / scale, seen.right / scale)
        T = None if seen.tangent is None else seen.tangent.reshape(D.shape)
        distance, tangent = self.way(D, T, a, b)
        tangent = None if tangent is None else tangent.reshape(shape)
        return Passed(distance.reshape(shape), tangent, scale * (gain or 1.0)).bounded()

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        del seen
        return self.way.error(inputs[0], before[0])

    def describe(self) -> str:
        return f"activation {self.phi}"

    @property
    def passes(self) -> float:
        return 25.0


def activation_made(call: Call, function: Elementwise) -> Made:
    """An activation given by a function of tensors; a module may name its ``kinks``."""
    module = getattr(call.function, "__self__", None)
    own = isinstance(module, torch.nn.Module)
    short = (type(module).__name__ if own else call.name).rsplit(".", 1)[-1].rstrip("_")
    kinks = tuple(getattr(module, "kinks", ())) if own else _KINKS.get(short, ())
    z = torch.linspace(-3.0, 3.0, 25, dtype=torch.float64)
    with torch.no_grad():
        homogeneous = all(torch.equal(function(c * z), c * function(z)) for c in (0.25, 2.0, 8.0))
    phi = custom(
        function, name=short, kinks=(0.0,) if homogeneous else kinks,
        homogeneity=1 if homogeneous else None,
    )  # fmt: skip
    return _elementwise(call, phi)


def _elementwise(call: Call, phi: Activation) -> Made:
    x = call["input"]
    node = call.node(x)
    assert node is not None
    if node.law != Law.GAUSSIAN:
        raise call.refuse(
            f"the activation {phi} acts on values that are not Gaussian in the limit (they come "
            f"from {node.where}); put weights in between"
        )
    return Made(Elementwisely(phi), (x,), node.layout, Law.FEATURES, origin=True)


def _register(maker: Callable[[Call], Activation], *functions: Any, **signature: Any) -> None:
    reads(*functions, **signature)(lambda call: _elementwise(call, maker(call)))


_KINKS = {
    "hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "elu": (0.0,), "selu": (0.0,), "celu": (0.0,),
    "hardswish": (-3.0, 3.0), "hardsigmoid": (-3.0, 3.0), "softsign": (0.0,),
}  # fmt: skip


def _simple(name: str, *functions: Any) -> None:
    _register(lambda _: named(name), *functions)


_simple("relu", F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_simple("tanh", torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, F.tanh)
_simple(
    "sigmoid", torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, F.sigmoid,
    torch.special.expit,
)  # fmt: skip
_simple("silu", F.silu)
_simple("erf", torch.erf, Tensor.erf, torch.special.erf)
_simple("sin", torch.sin, Tensor.sin)
_simple("abs", torch.abs, Tensor.abs, torch.absolute, Tensor.__abs__)
_register(
    lambda call: named(f"leaky_relu:alpha={float(call['negative_slope'])!r}"),
    F.leaky_relu, F.leaky_relu_,
    names="input negative_slope", defaults={"negative_slope": 0.01},
)  # fmt: skip
_register(
    lambda call: (
        named("gelu")
        if call["approximate"] == "none"
        else custom(lambda z: F.gelu(z, approximate=call["approximate"]), name="gelu_tanh")
    ),
    F.gelu, names="input approximate", defaults={"approximate": "none"},
)  # fmt: skip
_register(
    lambda call: named(f"softplus:beta={float(call['beta'])!r}"),
    F.softplus, names="input beta threshold", defaults={"beta": 1.0, "threshold": 20.0},
)  # fmt: skip
