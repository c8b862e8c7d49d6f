"""Targets checked against the outputs that a loss compares them with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

IGNORED = -100  # the class that does not count, as in torch and in the labels of language models


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
    """Classes (B,) as integers, or probabilities (B, C), for scores (N, C) or (N, …, C), B = N·….

    Raises ValueError for classes that the model has no output for, for fractions, and for outputs that
    are no scores of classes.
    """
    C, places = outputs.shape[-1], tuple(outputs.shape[:-1])
    if outputs.ndim == 1 or C == 1:
        raise ValueError(
            "cross_entropy of one output is constant; for one logit pass loss="
            "torch.nn.functional.binary_cross_entropy_with_logits"
        )
    made = _array(targets, len(outputs))
    if made.shape == outputs.shape and made.is_floating_point():
        off = (made.sum(dim=-1) - 1).abs().max()
        if bool((made < 0).any()) or float(off) > 1e-6:
            raise ValueError(
                "targets of scores' shape are probabilities: at least 0, each row's sum 1"
            )
        return made.to(outputs).flatten(0, -2)
    if made.shape == (*places, 1):
        made = made[..., 0]
    if made.shape != places:
        hint = ""
        if len(places) > 1:
            hint = (
                "; the model returns scores of shape "
                f"{tuple(outputs.shape)}, classes last: pick a position with output=, or move the classes' "
                "axis there (output=lambda out: out.movedim(1, -1))"
            )
        raise ValueError(
            f"targets of cross_entropy are {_shape(places)} classes or {_shape((*places, C))} "
            f"probabilities, got shape {tuple(made.shape)}{hint}"
        )
    classes = made.to(torch.long)
    if made.is_floating_point() and not bool((made == classes).all()):
        raise ValueError(
            "targets of cross_entropy are classes 0, 1, …, and these hold fractions; for real numbers "
            'take loss="mse"'
        )
    counted = classes[classes != IGNORED]
    if not len(counted):
        raise ValueError(f"every target is {IGNORED}, which does not count: there is no loss")
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= C:
        wrong = low if low < 0 else high
        raise ValueError(
            f"targets hold class {wrong}, and the model has {C} outputs (classes 0 … {C - 1}); number "
            f"the classes from 0, and give those without a class {IGNORED}"
        )
    return classes.to(outputs.device).flatten()


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape).replace(",)", ")")


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
