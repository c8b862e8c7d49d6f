"""Centring and scaling: explicit options, never silent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def center(X: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """X minus the mean of its rows.

    Parameters
    ----------
    X: (N, d) samples.

    Returns
    -------
    (N, d) centred samples.
    """
    return X - X.mean(dim=0, keepdim=True)


def scale_rows(X: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Every row scaled to norm √d (Banerjee et al. 2023, Assumption 2).

    Parameters
    ----------
    X: (N, d) samples.

    Returns
    -------
    (N, d) scaled samples.

    Raises ValueError naming the first row that is zero.
    """
    import torch

    norms = torch.linalg.vector_norm(X, dim=1)
    if bool((norms == 0).any()):
        row = int((norms == 0).nonzero()[0])
        raise ValueError(f"row {row} is zero and has no direction; drop it before scaling rows")
    return X * (math.sqrt(X.shape[1]) / norms[:, None])
