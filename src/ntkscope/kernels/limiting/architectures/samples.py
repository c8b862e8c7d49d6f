"""Samples of any shape, as the model takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ntkscope._base.inputs import require_finite


def as_samples(X: Any, name: str = "X") -> Tensor:
    """X (N, …) as a float64 tensor, or as it is where it holds whole numbers (tokens).

    Raises TypeError or ValueError for what is none, is empty, or is not finite.
    """
    if not isinstance(X, Tensor):
        try:
            X = torch.as_tensor(X)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name} must be a tensor or an array, got {type(X).__name__}"
            ) from error
    if X.ndim < 2 or X.numel() == 0:
        raise ValueError(
            f"{name} must hold samples along its first axis, (N, …) with N ≥ 1, got shape "
            f"{tuple(X.shape)}"
        )
    if X.is_complex() or X.dtype == torch.bool:
        raise ValueError(f"{name} must hold real or whole numbers, got {X.dtype}")
    X = X.detach().cpu()
    if not X.is_floating_point():
        return X
    require_finite(X, name)
    return X.to(torch.float64)


def identities(X: Tensor, X2: Tensor | None) -> tuple[Tensor, Tensor]:
    """A number for each sample, equal for samples that are equal in each bit."""
    both = X if X2 is None else torch.cat([X, X2])
    _, numbers = torch.unique(both.flatten(1), dim=0, return_inverse=True)
    return (numbers, numbers) if X2 is None else (numbers[: len(X)], numbers[len(X) :])
