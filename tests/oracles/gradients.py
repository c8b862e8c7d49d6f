"""Gradient steps and Hessians by autograd."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, hessian


def descent_step(model, X: Tensor, Y: Tensor, eta: float) -> list[Tensor]:
    """The parameters after one step of gradient descent on ½‖F − Y‖²."""
    loss = 0.5 * ((model(X)[:, 0] - Y) ** 2).sum()
    parameters = list(model.parameters())
    return [
        p.detach() - eta * g
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)
    ]


def parameter_hessian(model, x: Tensor) -> Tensor:
    """(p, p): ∂²f(x)/∂θ² of one sample."""
    names = [n for n, _ in model.named_parameters()]
    shapes = [p.shape for _, p in model.named_parameters()]
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def f(theta: Tensor) -> Tensor:
        parts, start = {}, 0
        for name, shape in zip(names, shapes, strict=True):
            parts[name] = theta[start : start + shape.numel()].reshape(shape)
            start += shape.numel()
        return functional_call(model, parts, (x[None],))[0, 0]

    return hessian(f)(flat)
