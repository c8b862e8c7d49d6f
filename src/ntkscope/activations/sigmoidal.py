"""Activations made of 1/(1 + e^{−z}): the sigmoid, tanh, softplus and SiLU."""

from __future__ import annotations

import math
from typing import Any

from ntkscope._base.arrays import is_numpy, namespace, special
from ntkscope.activations import balls
from ntkscope.activations.activation import Activation, Fused, finite
from ntkscope.activations.registry import register_activation


def sigmoid() -> Activation:
    """1/(1 + e^{-z})."""

    def derivative(z: Any) -> Any:
        return _logistic(z) * _logistic(-z)

    return Activation(
        "sigmoid",
        _logistic,
        derivative,
        lambda z: -derivative(z) * namespace(z).tanh(0.5 * z),
        0.25,
        1.0 / (6.0 * math.sqrt(3.0)),
        slopes=(0.0, 0.25),
        ball=balls.smooth(
            lambda z, _: balls.sigmoid(z), lambda z, _: balls.sigmoid(z) * balls.sigmoid(-z),
            0.25, 0.5,
        ),
        fused=Fused(lambda g: g.sigmoid_(), _backward("sigmoid_backward")),
        poles=True,
    )  # fmt: skip


def tanh() -> Activation:
    """tanh z."""

    def derivative(z: Any) -> Any:
        # 1 − tanh² loses every digit in the tails; 1/cosh² = 4σ(2z)σ(−2z) keeps them
        return 4.0 * _logistic(2.0 * z) * _logistic(-2.0 * z)

    return Activation(
        "tanh",
        lambda z: namespace(z).tanh(z),
        derivative,
        lambda z: -2.0 * namespace(z).tanh(z) * derivative(z),
        1.0,
        4.0 / (3.0 * math.sqrt(3.0)),
        slopes=(0.0, 1.0),
        ball=balls.smooth(lambda z, _: z.tanh(), lambda z, _: z.sech() ** 2, 1.0),
        fused=Fused(lambda g: g.tanh_(), _backward("tanh_backward")),
        poles=True,
    )


def silu() -> Activation:
    """zσ(z), also called swish."""

    def phi(z: Any) -> Any:
        return z * _logistic(z) if is_numpy(z) else namespace(z).nn.functional.silu(z)

    def second(z: Any) -> Any:
        return _logistic(z) * _logistic(-z) * (2.0 - z * namespace(z).tanh(0.5 * z))

    # sup φ′ where z·tanh(z/2) = 2, that is z = 2.39935728…
    z = 2.3993572805154176
    s = 1.0 / (1.0 + math.exp(-z))
    slope = s * (1.0 + z * (1.0 - s))
    return Activation(
        "silu",
        phi,
        lambda z: _logistic(z) * (1.0 + z * _logistic(-z)),
        second,
        slope,
        0.5,
        slopes=(1.0 - slope, slope),  # φ(z) − φ(−z) = z, so φ′(z) + φ′(−z) = 1
        ball=balls.smooth(
            lambda z, _: z * balls.sigmoid(z),
            lambda z, _: balls.sigmoid(z) * (1 + z * balls.sigmoid(-z)), 1.1,
        ),
        poles=True,
    )  # fmt: skip


def softplus(beta: float = 1.0) -> Activation:
    """log(1 + e^{βz})/β, a smoothed ReLU.

    Parameters
    ----------
    beta: inverse width of the smoothed kink.

    Returns
    -------
    Activation.
    """
    if finite("softplus", "beta", beta) <= 0:
        raise ValueError(f"softplus needs beta > 0, got {beta}")

    def phi(z: Any) -> Any:
        # torch's softplus turns linear beyond a threshold; this form is exact everywhere, and so
        # is its gradient by autograd
        xp = namespace(z)
        return xp.logaddexp(beta * z, xp.zeros_like(z)) / beta

    def on_balls(z: Any, analytic: bool) -> Any:
        grown = 1 + (beta * z).exp()
        return (grown.log(analytic=True) if analytic else grown.log()) / beta

    return Activation(
        f"softplus:beta={float(beta)!r}",
        phi,
        lambda z: _logistic(beta * z),
        lambda z: beta * _logistic(beta * z) * _logistic(-beta * z),
        1.0,
        beta / 4.0,
        slopes=(0.0, 1.0),
        ball=balls.smooth(on_balls, lambda z, _: balls.sigmoid(beta * z), 1.0, 0.7 / beta),
        poles=True,
    )


def _logistic(z: Any) -> Any:
    return special(z).expit(z)


def _backward(name: str) -> Any:
    """torch's own backward of φ from φ(g), written into the signal."""

    def backward(signal: Any, feature: Any) -> Any:
        import torch

        return getattr(torch.ops.aten, name).grad_input(signal, feature, grad_input=signal)

    return backward


register_activation("sigmoid", sigmoid)
register_activation("tanh", tanh)
register_activation("silu", silu)
register_activation("softplus", softplus)
