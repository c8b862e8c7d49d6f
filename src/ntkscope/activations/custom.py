"""Activations of the user's own: functions of tensors, differentiated by autograd."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import is_numpy
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.arccosine import closed_forms


@dataclass(frozen=True)
class OnTensors:
    """A function of tensors that takes NumPy arrays as well."""

    function: Elementwise

    def __call__(self, z: Any) -> Any:
        if not is_numpy(z):
            return self.function(z)
        import torch

        out = self.function(torch.from_numpy(np.array(z)))
        return out.detach().numpy() if isinstance(out, torch.Tensor) else out


def custom(
    phi: Elementwise,
    *,
    name: str | None = None,
    derivative: Elementwise | None = None,
    second: Elementwise | None = None,
    lipschitz: float | None = None,
    lipschitz_derivative: float | None = None,
    kinks: tuple[float, ...] = (),
    homogeneity: int | None = None,
) -> Activation:
    """An activation of your own, of functions of tensors. What is not given comes by autograd.

    Parameters
    ----------
    phi: φ, a function of a tensor that returns a tensor of its shape.
    name: for tables and reports.
    derivative, second: φ′ and φ″; by autograd where they are not given.
    lipschitz, lipschitz_derivative: sup |φ′| and sup |φ″|, where they are known.
    kinks: points where φ′ jumps.
    homogeneity: 1 if φ(cz) = cφ(z) for every c > 0.

    Returns
    -------
    Activation with what was stated of it.

    Raises ValueError if φ or a given derivative changes the shape, or is not finite on [-3, 3].
    """
    first = derivative if derivative is not None else _autograd(phi)
    curvature = second if second is not None else _autograd(first)
    label = name if name is not None else getattr(phi, "__name__", type(phi).__name__)
    if kinks and lipschitz_derivative is None:
        lipschitz_derivative = math.inf
    for what, function in (("φ", phi), ("φ′", first)):
        _check(label, what, function)
    given: dict[str, Any] = {"kinks": tuple(kinks), "homogeneity": homogeneity, "custom": True}
    if homogeneity == 1:
        plus, minus = (float(y) for y in OnTensors(phi)(np.array([1.0, -1.0])))
        given |= closed_forms(-minus, plus, float(OnTensors(first)(np.zeros(1))[0]))
    return Activation(
        label, OnTensors(phi), OnTensors(first), OnTensors(curvature), lipschitz,
        lipschitz_derivative, **given,
    )  # fmt: skip


def _check(label: str, what: str, function: Elementwise) -> None:
    import torch

    probe = torch.linspace(-3.0, 3.0, 7, dtype=torch.float64)
    out = function(probe)
    if not isinstance(out, torch.Tensor) or out.shape != probe.shape:
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"activation {label!r}: {what} must map a tensor to one of the same shape, "
            f"got {got} for {tuple(probe.shape)}"
        )
    if not bool(torch.isfinite(out).all()):
        raise ValueError(f"activation {label!r}: {what} is not finite on [-3, 3]")


def _autograd(function: Elementwise) -> Elementwise:
    def derivative(z: Any) -> Any:
        import torch

        with torch.enable_grad():
            # inside an outer graph z is differentiated through, so that φ″ = (φ′)′ works
            live = z if z.requires_grad else z.detach().requires_grad_()
            out = function(live)
            if not isinstance(out, torch.Tensor) or not out.requires_grad:
                return torch.zeros_like(z)  # φ is constant
            (slope,) = torch.autograd.grad(
                out.sum(), live, create_graph=z.requires_grad, allow_unused=True
            )
        return torch.zeros_like(z) if slope is None else slope

    return derivative
