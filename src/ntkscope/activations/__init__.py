"""Activation functions: φ, φ′, φ″ and what the theory needs to know of them."""

from ntkscope.activations.activation import (
    NAMES,
    Activation,
    absolute,
    activation,
    custom,
    erf,
    gelu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    tanh,
)

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
    "relu",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "tanh",
]
