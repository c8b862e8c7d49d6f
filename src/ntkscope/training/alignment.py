"""How well a kernel fits the labels: the alignment that feature learning raises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def as_label_columns(targets: Any, N: int) -> Float[Tensor, "N C"] | None:
    """Centred labels, classes as indicators; None for what is no label a sample, or all the same."""
    if targets is None:
        return None
    array = targets.detach().cpu() if isinstance(targets, Tensor) else np.asarray(targets)
    if not isinstance(array, Tensor):
        if array.dtype.kind not in "biuf":
            return None
        array = torch.from_numpy(array)
    if array.ndim not in (1, 2) or len(array) != N:
        return None
    columns = array if array.ndim == 2 else array[:, None]
    if not columns.is_floating_point():
        if columns.shape[1] != 1:
            return None  # classes of tokens
        values = columns.unique()
        columns = columns == values
    columns = columns.to(torch.float64)
    columns = columns - columns.mean(dim=0)
    return columns if bool(columns.any()) and bool(columns.isfinite().all()) else None


def label_alignment(K: Float[Tensor, "N N"], labels: Float[Tensor, "N C"]) -> float:
    """⟨HKH, YYᵀ⟩_F / (‖HKH‖_F ‖YYᵀ‖_F) with centred Y (Cortes et al., JMLR 13, 2012, Definition 4)."""
    matrix, Y = K.to(torch.float64), labels.to(K.device)
    rows = matrix.mean(dim=0)
    centred = matrix - rows - rows[:, None] + rows.mean()
    size = float(torch.linalg.matrix_norm(centred) * torch.linalg.matrix_norm(Y.T @ Y))
    return float((Y * (centred @ Y)).sum()) / size if size else math.nan
