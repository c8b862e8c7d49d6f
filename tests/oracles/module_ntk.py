"""The slow, obvious NTK of any module: one backward pass per sample and output, then J Jᵀ."""

from __future__ import annotations

import torch
from torch import Tensor


def jacobian(model: torch.nn.Module, *X: Tensor) -> Tensor:
    """(N, C, P): gradients of single samples with respect to the trainable parameters."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(X[0])):
        outputs = model(*(x[i : i + 1] for x in X)).reshape(-1)
        rows.append(torch.stack([_flat(o, parameters) for o in outputs]))
    return torch.stack(rows)


def _flat(output: Tensor, parameters: list[Tensor]) -> Tensor:
    if not output.requires_grad:
        return torch.cat([torch.zeros_like(p).reshape(-1) for p in parameters])
    found = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(parameters, found, strict=True)
        ]
    )


def kernel(J: Tensor, J2: Tensor | None = None, reduce: str | int = "trace") -> Tensor:
    """The kernel of Jacobians (N, C, P) by the definition of ``reduce``."""
    J2 = J if J2 is None else J2
    if reduce == "trace":
        return torch.einsum("ncp,mcp->nm", J, J2)
    if reduce == "diagonal":
        return torch.einsum("ncp,mcp->nmc", J, J2)
    if reduce == "full":
        return J.flatten(0, 1) @ J2.flatten(0, 1).T
    return J[:, reduce] @ J2[:, reduce].T
