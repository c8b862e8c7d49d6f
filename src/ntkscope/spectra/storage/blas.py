"""Products that torch computes slowly in the usual notation."""

import torch
from torch import Tensor

_ROWS = 480  # of a wide matrix: more of them are a tenth slower, by the cache


def transposed_product(Q: Tensor, W: Tensor) -> Tensor:
    """QᵀW for a tall row-major Q and a narrow W.

    Taken as (WᵀQ)ᵀ: MKL is up to five times slower where the narrow matrix comes second.
    """
    return (W.T.contiguous() @ Q).T


def narrow_product(L: Tensor, x: Tensor) -> Tensor:
    """L x for a narrow x, for any memory layout of L; a few rows of L at a time on a CPU."""
    if L.device.type != "cpu":
        return transposed_product(L.T, x)
    narrow = x.T.contiguous()
    made = narrow.new_empty(len(narrow), len(L))
    for i in range(0, len(L), _ROWS):
        torch.mm(narrow, L[i : i + _ROWS].T, out=made[:, i : i + _ROWS])
    return made.T
