"""Derivatives whatever the caller's mode: no_grad and inference_mode end at the library's edge."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from ntkscope._base.precision import ieee_float32

_P = ParamSpec("_P")
_T = TypeVar("_T")


def with_gradients(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """``function`` with gradients on, float32 at its own precision: an outer ``no_grad``, like TF32, applies to
    the caller's own code."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with torch.inference_mode(False), torch.enable_grad(), ieee_float32():
            return function(*args, **kwargs)

    return run


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one made in inference mode, which no graph may hold."""
    return tensor.clone() if tensor.is_inference() else tensor
