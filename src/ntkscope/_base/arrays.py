"""NumPy and torch behind one set of names, so that a formula is written once and torch is optional."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def is_numpy(x: Any) -> bool:
    """Whether ``x`` is NumPy's, an array or one number."""
    return isinstance(x, (np.ndarray, np.generic))


def namespace(x: Any) -> Any:
    """NumPy for its arrays, torch for tensors. What both call the same is written with it."""
    if is_numpy(x):
        return np
    import torch

    return torch


def special(x: Any) -> Any:
    """``scipy.special`` for NumPy arrays, ``torch.special`` for tensors."""
    if is_numpy(x):
        import scipy.special

        return scipy.special
    import torch

    return torch.special


def as_numpy(x: Any) -> Array:
    """A tensor, an array or numbers as a float64 array; no copy where none is needed."""
    if isinstance(x, np.ndarray) or not hasattr(x, "detach"):
        return np.asarray(x, dtype=np.float64)
    return np.asarray(x.detach().cpu().numpy(), dtype=np.float64)


def like(x: Any, array: Array) -> Any:
    """``array`` as it is where ``x`` is an array, else as a tensor of ``x``'s device and dtype."""
    if is_numpy(x):
        return array
    import torch

    made = torch.from_numpy(np.ascontiguousarray(array))
    return made.to(device=x.device, dtype=x.dtype) if isinstance(x, torch.Tensor) else made
