"""Activation functions: φ, φ′, φ″ and what the theory needs to know of them.

Each file of this folder registers the members of its family; a new one is one more file.
"""

import importlib
import pkgutil
from typing import Any

from ntkscope.activations.activation import Activation
from ntkscope.activations.custom import custom
from ntkscope.activations.gaussian import erf, gelu
from ntkscope.activations.homogeneous import absolute, identity, leaky_relu, relu
from ntkscope.activations.registry import activation, register_activation
from ntkscope.activations.registry import names as _names
from ntkscope.activations.sigmoidal import sigmoid, silu, softplus, tanh
from ntkscope.activations.sine import sin

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = [
    "NAMES",
    "Activation",
    "absolute",
    "activation",
    "custom",
    "erf",
    "gelu",
    "identity",
    "leaky_relu",
    "register_activation",
    "relu",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "tanh",
]


def __getattr__(name: str) -> Any:
    if name == "NAMES":  # with what was registered since
        return _names()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
