"""Is a function elementwise? Asked of the function itself, by changing what must not matter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def is_elementwise(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether each output is a function of the input at its place alone, and not a linear one.

    Tried on random numbers: half of the entries are replaced and all of them are permuted.
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 4, 6, 6, dtype=torch.float64, generator=generator)
    other = torch.randn(z.shape, dtype=torch.float64, generator=generator)
    mask = torch.rand(z.shape, generator=generator) < 0.5
    order = torch.randperm(z.numel(), generator=generator)
    try:
        with torch.no_grad():
            plain = function(z.clone())
            half = function(torch.where(mask, z, other))
            moved = function(z.flatten()[order].reshape(z.shape).clone())
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    if not isinstance(plain, Tensor) or plain.shape != z.shape or plain.dtype != z.dtype:
        return False
    eps = 64 * torch.finfo(torch.float64).eps  # vectorised tails of a kernel may round apart
    size = plain.abs().clamp_min(1.0)
    if not bool(((plain - half).abs() <= eps * size)[mask].all()):
        return False
    turned = plain.flatten()[order].reshape(z.shape)
    if not bool(((moved - turned).abs() <= eps * turned.abs().clamp_min(1.0)).all()):
        return False
    slope = plain.flatten()[0] / z.flatten()[0]
    return not bool(((plain - slope * z).abs() <= eps * size).all())
