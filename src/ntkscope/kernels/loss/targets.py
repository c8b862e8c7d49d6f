"""Targets checked against the outputs that a loss compares them with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope._base.inputs import require_strided

IGNORED = -100  # the class that does not count, as in torch and in the labels of language models


def counted(classes: Tensor) -> Tensor:
    """Where the class is not −100, which no unsigned byte is: torch compares those modulo 256."""
    return classes.long() != IGNORED


def _array(targets: Any, n: int) -> Tensor:
    """Numbers, one row a sample."""
    tensor = as_tensor(targets)
    if tensor.ndim == 0 or len(tensor) != n:
        held = "one number" if tensor.ndim == 0 else f"{len(tensor)} rows"
        raise ValueError(f"targets hold {held} for {n} samples; give one for each, in their order")
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise ValueError("targets hold values that are NaN or infinite")
    return tensor


def as_tensor(targets: Any) -> Tensor:
    """One array of real numbers, on the CPU. Raises TypeError for anything else."""
    if isinstance(targets, Tensor):
        require_strided(targets, "targets")
        if targets.is_complex():
            raise TypeError(f"targets must be real, got {targets.dtype}")
        return targets.detach().cpu()
    if isinstance(targets, Mapping):
        raise TypeError(f"targets are a dict of {', '.join(map(repr, targets))}; {_ONE}")
    kind = type(targets).__name__
    if isinstance(targets, (list, tuple)):  # numpy reads no tensor of a GPU or of a graph
        targets = [t.detach().cpu() if isinstance(t, Tensor) else t for t in targets]
    try:
        array = np.asarray(targets)
    except (ValueError, TypeError, RuntimeError):  # parts of several shapes
        raise TypeError(f"targets are a {kind} of several arrays; {_ONE}") from None
    if array.dtype.kind == "O":
        raise TypeError(f"targets are a {kind} of no numbers (None, text); {_ONE}")
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"targets must be numbers, got dtype {array.dtype}; name the classes by numbers, e.g. "
            "numpy.unique(targets, return_inverse=True)[1]"
        )
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


_ONE = (
    "give one array of numbers, a row for each sample. For several tasks put them side by side, and let the "
    "loss take its columns: lambda outputs, targets: first(outputs[:, :3], targets[:, 0]) + …"
)


def _probabilities(made: Tensor) -> Tensor:
    """Rows that sum to 1 in float64, once they do to the precision that they came in.

    Raises ValueError for others.
    """
    rows = made.to(torch.float64)
    # entries rounded once, and a softmax of that precision
    allowed = 1e-6 + (8 * torch.finfo(made.dtype).eps if made.is_floating_point() else 0.0)
    sums = rows.sum(dim=-1, keepdim=True)
    if bool((rows < 0).any()) or float((sums - 1).abs().max()) > allowed:
        raise ValueError(
            "targets of scores' shape are probabilities or one-hot rows: at least 0, each row's sum 1"
        )
    return rows / sums


def class_targets(targets: Any, outputs: Tensor) -> Tensor:
    """Classes (B,) as integers, or probabilities (B, C), for scores (N, C) or (N, …, C), B = N·….

    Raises ValueError for classes that the model has no output for, for fractions, and for outputs that
    are no scores of classes.
    """
    C, places = outputs.shape[-1], tuple(outputs.shape[:-1])
    if outputs.ndim == 1 or C == 1:
        raise ValueError(
            "cross_entropy of one output is constant; for one logit take the loss binary_cross_entropy, whose "
            "targets are 0 or 1"
        )
    made = _array(targets, len(outputs))
    if made.shape == outputs.shape:
        return _probabilities(made).to(outputs).flatten(0, -2)
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
            "take the loss mse"
        )
    named = classes[counted(classes)]
    if not len(named):
        raise ValueError(f"every target is {IGNORED}, which does not count: there is no loss")
    low, high = int(named.min()), int(named.max())
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
    """Numbers (N, C) for flat outputs (N, C); of whole numbers (N,), classes, their one-hot rows.

    Raises ValueError for another shape, and classes that the model has no output for.
    """
    made = _array(targets, len(outputs))
    made = made.flatten(1) if made.ndim > 1 else made[:, None]
    C = outputs.shape[1]
    if made.shape[1] == 1 < C and not made.is_floating_point():
        classes = made[:, 0].long()
        if int(classes.min()) < 0 or int(classes.max()) >= C:
            raise ValueError(
                f"whole numbers as targets of mse are classes 0 … {C - 1} for {C} outputs, and these go from "
                f"{int(classes.min())} to {int(classes.max())}; give rows of {C} numbers otherwise"
            )
        return F.one_hot(classes, C).to(outputs)
    if made.shape != outputs.shape:
        raise ValueError(
            f"targets of mse have the outputs' shape {tuple(outputs.shape)}, or are classes as whole numbers, "
            f"got {made.dtype} of shape {tuple(made.shape)}"
        )
    return made.to(outputs)


def binary_targets(targets: Any, outputs: Tensor) -> Tensor:
    """Numbers from 0 to 1, (N, C), one for each flat output. Raises ValueError for others."""
    made = _array(targets, len(outputs))
    made = made.flatten(1) if made.ndim > 1 else made[:, None]
    if made.shape != outputs.shape:
        raise ValueError(
            f"targets of binary_cross_entropy have the outputs' shape {tuple(outputs.shape)}, got "
            f"{tuple(made.shape)}; for one of several classes take the loss cross_entropy"
        )
    low, high = float(made.min()), float(made.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"targets of binary_cross_entropy are 0 or 1 for each output (or between), got {low:g} to {high:g}"
        )
    return made.to(outputs)


def free_targets(targets: Any, outputs: Tensor) -> Any:
    """For a function of the user's: on the outputs' device, fractions in their precision."""
    if targets is None:
        raise ValueError("targets are missing: a loss compares the outputs with them")
    made = _array(targets, len(outputs))
    return made.to(outputs) if made.is_floating_point() else made.to(outputs.device)
