"""The Gauss-Newton matrix by its definition: an explicit Jacobian and an explicit Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from oracles.module_ntk import jacobian


def gauss_newton(
    model: torch.nn.Module, X: tuple[Tensor, ...], targets: Any, loss: Callable[..., Tensor]
) -> Tensor:
    """Jᵀ H J, (P, P), of ``loss(model(*X), targets)``."""
    outputs = model(*X).detach()
    H = torch.autograd.functional.hessian(lambda F: loss(F, targets), outputs)
    J = jacobian(model, *X).flatten(0, 1)
    return J.T @ H.reshape(outputs.numel(), outputs.numel()) @ J


def hessian(
    model: torch.nn.Module, X: tuple[Tensor, ...], targets: Any, loss: Callable[..., Tensor]
) -> Tensor:
    """∇²_θ of ``loss(model(*X), targets)``, (P, P), one row at a time."""
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(loss(model(*X), targets), parameters, create_graph=True)
    rows = []
    for g in torch.cat([s.reshape(-1) for s in slopes]):
        second = torch.autograd.grad(g, parameters, retain_graph=True, allow_unused=True)
        parts = zip(second, parameters, strict=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if h is None else h).reshape(-1) for h, p in parts])
        )
    return torch.stack(rows)
