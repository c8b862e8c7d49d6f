"""How well a kernel fits the labels: the alignment that feature learning raises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ntkscope.kernels.loss.targets import counted


@dataclass(frozen=True, eq=False)
class LabelColumns:
    """Centred labels Y of the samples ``kept``, those whose class is not −100."""

    Y: Float[Tensor, "n C"]
    kept: Int[Tensor, n]


def as_label_columns(targets: Any, N: int) -> LabelColumns | None:
    """Classes as indicators; None for what is no label a sample, or all the same."""
    if targets is None:
        return None
    array = targets.detach().cpu() if isinstance(targets, Tensor) else np.asarray(targets)
    if not isinstance(array, Tensor):
        if array.dtype.kind not in "biuf":
            return None
        array = torch.from_numpy(array)
    if array.ndim not in (1, 2) or len(array) != N:
        return None
    columns, kept = array if array.ndim == 2 else array[:, None], torch.arange(N)
    if not columns.is_floating_point():
        if columns.shape[1] != 1:
            return None  # classes of tokens
        kept = torch.nonzero(counted(columns[:, 0]))[:, 0]
        columns = columns[kept].long()
        columns = columns == columns.unique()
    columns = columns.to(torch.float64)
    columns = columns - columns.mean(dim=0)
    known = bool(columns.any()) and bool(columns.isfinite().all())
    return LabelColumns(columns, kept) if known else None


def label_alignment(K: Float[Tensor, "N N"], labels: LabelColumns) -> float:
    """⟨HKH, YYᵀ⟩_F / (‖HKH‖_F ‖YYᵀ‖_F) with centred Y (Cortes et al., JMLR 13, 2012, Definition 4)."""
    Y, kept = labels.Y.to(K.device), labels.kept.to(K.device)
    matrix = (K if len(kept) == len(K) else K[kept][:, kept]).to(torch.float64)
    rows = matrix.mean(dim=0)
    centred = matrix - rows - rows[:, None] + rows.mean()
    size = float(torch.linalg.matrix_norm(centred) * torch.linalg.matrix_norm(Y.T @ Y))
    return float((Y * (centred @ Y)).sum()) / size if size else math.nan
