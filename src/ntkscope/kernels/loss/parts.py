"""Whether a loss on part of the samples follows from what it is on all of them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.kernels.loss.losses import LossLike
from ntkscope.kernels.loss.targets import free_targets

_ALIKE = 1e-3  # relative, of two gradients


def divides(loss: LossLike, outputs: Float[Tensor, N * shape], targets: Any) -> bool:
    """Whether ``loss`` is, on all N samples, the mean or the sum of what it is on each alone.

    The named losses are. A function is asked for its gradients, at the outputs of other samples, where a
    sample that is fitted has one too. A mean with weights of its own is not: on few samples it is divided
    by their weights.
    """
    if isinstance(loss, str):
        return True
    labels = free_targets(targets, outputs)
    moved = outputs.roll(1, 0)

    def slope(rows: slice) -> Tensor:
        with torch.enable_grad():
            leaf = moved[rows].detach().clone().requires_grad_()
            return torch.autograd.grad(loss(leaf, labels[rows]).sum(), leaf)[0].flatten(1)

    try:
        whole = slope(slice(None))
        alone = torch.cat([slope(slice(i, i + 1)) for i in range(len(outputs))])
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False  # it takes no batch of one
    return any(_alike(whole * count, alone) for count in (len(outputs), 1))


def _alike(a: Tensor, b: Tensor) -> bool:
    """Row by row, but for what rounding leaves of the largest."""
    floor = 1e2 * torch.finfo(b.dtype).eps * torch.linalg.vector_norm(b, dim=1).max()
    allowed = _ALIKE * torch.linalg.vector_norm(b, dim=1) + floor
    return bool((torch.linalg.vector_norm(a - b, dim=1) <= allowed).all())
