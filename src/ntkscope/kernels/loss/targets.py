"""Targets checked against the outputs that a loss compares them with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def _array(targets: Any, n: int) -> Tensor:
    """Numbers, one row a sample."""
    array = targets.detach().cpu().numpy() if isinstance(targets, Tensor) else np.asarray(targets)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"targets must be numbers, got dtype {array.dtype}; name the classes by numbers, e.g. "
            "numpy.unique(targets, return_inverse=True)[1]"
        )
    if array.ndim == 0 or len(array) != n:
        held = "one number" if array.ndim == 0 else f"{len(array)} rows"
        raise ValueError(f"targets hold {held} for {n} samples; give one for each, in their order")
    tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError("targets hold values that are NaN or infinite")
    return tensor


def class_targets(targets: Any, outputs: Tensor) -> Tensor:
    """Classes (N,) as integers, or probabilities (N, C), for outputs (N, C).

    Raises ValueError for classes that the model has no output for, for fractions, and for outputs that
    are no scores of classes.
    """
    N, C = len(outputs), outputs[0].numel()
    if outputs.ndim != 2:
        raise ValueError(
            f"cross_entropy here takes one score a class, (N, C), and the model returns "
            f"{tuple(outputs.shape)}; pick a position with output=, or pass a function as loss"
        )
    if C == 1:
        raise ValueError(
            "cross_entropy of one output is constant; for one logit pass loss="
            "torch.nn.functional.binary_cross_entropy_with_logits"
        )
    made = _array(targets, N)
    if made.shape == outputs.shape and made.is_floating_point():
        off = (made.sum(dim=1) - 1).abs().max()
        if bool((made < 0).any()) or float(off) > 1e-6:
            raise ValueError("targets of two axes are probabilities: at least 0, each row's sum 1")
        return made.to(outputs)
    if made.ndim == 2 and made.shape[1] == 1:
        made = made[:, 0]
    if made.ndim != 1:
        raise ValueError(
            f"targets of cross_entropy are {N} classes or ({N}, {C}) probabilities, got shape "
            f"{tuple(made.shape)}"
        )
    classes = made.to(torch.long)
    if made.is_floating_point() and not bool((made == classes).all()):
        raise ValueError(
            "targets of cross_entropy are classes 0, 1, …, and these hold fractions; for real numbers "
            'take loss="mse"'
        )
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= C:
        wrong = low if low < 0 else high
        raise ValueError(
            f"targets hold class {wrong}, and the model has {C} outputs (classes 0 … {C - 1}); number "
            "the classes from 0, and leave samples without a class out"
        )
    return classes.to(outputs.device)


def real_targets(targets: Any, outputs: Tensor) -> Tensor:
    """Numbers (N, C) for flat outputs (N, C). Raises ValueError for another shape."""
    made = _array(targets, len(outputs)).flatten(1) if np.ndim(targets) > 1 else None
    if made is None:
        made = _array(targets, len(outputs))[:, None]
    if made.shape != outputs.shape:
        hint = ""
        if made.shape[1] == 1:
            hint = "; classes go in as torch.nn.functional.one_hot(targets, C)"
        raise ValueError(
            f"targets of mse have the outputs' shape {tuple(outputs.shape)}, got {tuple(made.shape)}{hint}"
        )
    return made.to(outputs)


def free_targets(targets: Any, outputs: Tensor) -> Any:
    """For a function of the user's: on the outputs' device, fractions in their precision."""
    if targets is None:
        raise ValueError("targets are missing: a loss compares the outputs with them")
    made = _array(targets, len(outputs))
    return made.to(outputs) if made.is_floating_point() else made.to(outputs.device)
