"""Activations with φ(cz) = cφ(z) for c > 0: ReLU, leaky ReLU, |z| and the identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntkscope._base.arrays import is_numpy, namespace
from ntkscope.activations import balls
from ntkscope.activations.activation import Activation, Elementwise, Fused, finite
from ntkscope.activations.arccosine import closed_forms
from ntkscope.activations.registry import register_activation


def relu() -> Activation:
    """max(z, 0), with φ′(0) = 0."""
    fused = Fused(lambda g: g.clamp_min_(0.0), _relu_backward)
    return _broken("relu", 0.0, _relu, _step, 0.0, fused)


def leaky_relu(alpha: float = 0.01) -> Activation:
    """z for z > 0, αz otherwise; φ′(0) = α, the slope that autograd takes.

    Parameters
    ----------
    alpha: slope for z < 0.

    Returns
    -------
    Activation.
    """
    if alpha == 1.0:
        raise ValueError("leaky_relu with alpha=1 is linear; use 'identity'")
    finite("leaky_relu", "alpha", alpha)

    def phi(z: Any) -> Any:
        if is_numpy(z):
            return np.where(z > 0, z, alpha * z)
        return namespace(z).nn.functional.leaky_relu(z, alpha)

    def derivative(z: Any) -> Any:
        return _step(z) * (1.0 - alpha) + alpha

    return _broken(f"leaky_relu:alpha={float(alpha)!r}", alpha, phi, derivative, alpha)


def absolute() -> Activation:
    """|z|, with φ′(0) = 0."""
    return _broken("abs", -1.0, abs, lambda z: namespace(z).sign(z), 0.0)


def identity() -> Activation:
    """z: a linear network, whose kernel is known in closed form."""
    return Activation(
        "identity", lambda z: z, lambda z: namespace(z).ones_like(z), _zeros, 1.0, 0.0,
        ball=balls.smooth(*balls.linear(1.0), 1.0), **closed_forms(1.0, 1.0, 1.0),
    )  # fmt: skip


def _broken(
    name: str, below: float, phi: Elementwise, derivative: Elementwise, at_zero: float,
    fused: Fused | None = None,
) -> Activation:  # fmt: skip
    """Slope ``below`` left of 0 and 1 right of it, ``at_zero`` at 0."""
    return Activation(
        name, phi, derivative, _zeros, max(1.0, abs(below)), math.inf, (0.0,),
        ball=balls.broken(below), fused=fused, **closed_forms(below, 1.0, at_zero),
    )  # fmt: skip


def _relu(z: Any) -> Any:
    return np.maximum(z, 0.0) if is_numpy(z) else namespace(z).relu(z)


def _step(z: Any) -> Any:
    above = z > 0
    return above.astype(z.dtype) if is_numpy(z) else above.to(z.dtype)


def _zeros(z: Any) -> Any:
    return namespace(z).zeros_like(z)


def _relu_backward(signal: Any, feature: Any) -> Any:
    import torch

    backward = torch.ops.aten.threshold_backward.grad_input
    return backward(signal, feature, 0.0, grad_input=signal)


register_activation("relu", relu)
register_activation("leaky_relu", leaky_relu)
register_activation("abs", absolute)
register_activation("identity", identity)
