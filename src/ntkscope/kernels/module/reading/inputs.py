"""A user's samples as tensors of one length, in the model's precision and on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ntkscope._base.inputs import refuse_masks, require_strided
from ntkscope._base.samples import is_setting
from ntkscope.kernels.module.reading.modes import ordinary, with_gradients
from ntkscope.kernels.module.reading.subject import Inputs, Subject


@with_gradients
def as_inputs(X: Any, subject: Subject, name: str) -> Inputs:
    """``X``, an array, a tuple or a dict, as tensors of one length, in the model's precision.

    Integers stay integers (indices of an embedding). Raises TypeError or ValueError otherwise.
    """
    _refuse_lists(X, name)
    parts = _named(X, name)
    if not parts:
        raise ValueError(f"{name} is an empty tuple; give at least one tensor")
    tensors = tuple(_as_input(value, subject, called) for called, value in parts.items())
    lengths = [len(t) for t in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"the parts of {name} have different numbers of samples: {lengths}")
    return tensors


def _named(X: Any, name: str) -> dict[str, Any]:
    """The parts of X by their names in messages."""
    if isinstance(X, Mapping):
        return {f"{name}[{key!r}]": value for key, value in X.items() if not is_setting(value)}
    if not isinstance(X, tuple):
        return {name: X}
    return {name if len(X) == 1 else f"{name}[{i}]": value for i, value in enumerate(X)}


def _refuse_lists(X: Any, name: str) -> None:
    if not isinstance(X, list):
        return
    shapes = {part.shape for part in X if isinstance(part, np.ndarray)}
    if len(shapes) > 1 or any(isinstance(part, Tensor) for part in X):
        raise TypeError(
            f"{name} is a list of {len(X)} tensors; several inputs go in as a tuple of tensors, "
            "and samples as one tensor, torch.stack(X)"
        )


def _as_input(X: Any, subject: Subject, name: str) -> Tensor:
    if isinstance(X, Tensor):
        require_strided(X, name)
        tensor = ordinary(X.detach())
    else:
        refuse_masks(X, name)
        try:
            array = np.asarray(X)
            if array.dtype.kind not in "biuf":
                raise TypeError(f"dtype {array.dtype}")
            tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be a tensor or an array of numbers: {error}") from None
        if not hasattr(X, "dtype") and tensor.is_floating_point():
            tensor = tensor.to(subject.dtype)
    if tensor.ndim == 0 or tensor.numel() == 0:
        raise ValueError(f"{name} holds no samples: shape {tuple(tensor.shape)}")
    if tensor.is_complex() or tensor.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(f"{name} is {tensor.dtype}; convert it with .to({subject.dtype})")
    if tensor.is_floating_point():
        if tensor.dtype == torch.float64 and subject.dtype == torch.float32:
            raise ValueError(
                f"{name} is float64 and the model float32; convert one of them: "
                f"{name}.to(torch.float32), or model.double() to keep the digits"
            )
        tensor = tensor.to(subject.dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds values that are NaN or infinite; remove or impute them")
    return tensor.to(subject.device)
