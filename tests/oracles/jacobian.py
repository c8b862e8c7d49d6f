"""The slow, obvious NTK: one backward pass per sample and output, then J Jᵀ."""

from __future__ import annotations

import torch
from torch import Tensor


def jacobian(model: torch.nn.Module, X: Tensor) -> Tensor:
    """(N, C, P): the gradient of each output at each sample, one at a time."""
    parameters = list(model.parameters())
    rows = []
    for x in X:
        outputs = model(x[None])[0]
        grads = []
        for output in outputs:
            parts = torch.autograd.grad(output, parameters, retain_graph=True)
            grads.append(torch.cat([part.reshape(-1) for part in parts]))
        rows.append(torch.stack(grads))
    return torch.stack(rows)


def kernel(model: torch.nn.Module, X: Tensor, X2: Tensor | None = None) -> Tensor:
    """(N, M): Σ over outputs of J_o(X) J_o(X2)ᵀ."""
    left = jacobian(model, X)
    right = left if X2 is None else jacobian(model, X2)
    return torch.einsum("ncp,mcp->nm", left, right)
