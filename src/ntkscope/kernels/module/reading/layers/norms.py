"""Normalisations within a sample, and with stored statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.elementwise import Scale, Shift
from ntkscope.kernels.module.reading.layers.layer import REFUSALS, Read, Used, Watched, reads


def _read(
    plain: Callable[[dict[str, Any]], Tensor], channels: bool
) -> Callable[[dict[str, Any], Watched, Tensor], Read]:
    """``plain``: the normalised values. channels: parameters lie on the second axis."""

    def read(a: dict[str, Any], watched: Watched, out: Tensor) -> Read:
        def shape(p: Tensor) -> tuple[int, ...]:
            return (len(p),) + (1,) * (out.ndim - 2) if channels else tuple(p.shape)

        used: Used = {}
        weight, bias = a["weight"], a["bias"]
        if a.get("training"):  # of what is no batch
            return None
        if watched(weight):
            used[weight] = Scale(shape(weight))
        if watched(bias):
            used[bias] = Shift(shape(bias))
        if weight is None or weight not in used:
            return None, used
        with torch.no_grad():
            return plain(a), used

    return read


def _register(
    function: Any,
    names: str,
    plain: Callable[[dict[str, Any]], Tensor],
    channels: bool,
    **defaults: Any,
) -> None:
    reads(function, names=names, weight=None, bias=None, **defaults)(_read(plain, channels))


_register(
    F.layer_norm, "input normalized_shape weight bias eps",
    lambda a: F.layer_norm(a["input"], a["normalized_shape"], None, None, a["eps"]),
    channels=False, eps=1e-5,
)  # fmt: skip
_register(
    F.rms_norm, "input normalized_shape weight eps",
    lambda a: F.rms_norm(a["input"], a["normalized_shape"], None, a["eps"]),
    channels=False, eps=None,
)  # fmt: skip
_register(
    F.group_norm, "input num_groups weight bias eps",
    lambda a: F.group_norm(a["input"], a["num_groups"], None, None, a["eps"]),
    channels=True, eps=1e-5,
)  # fmt: skip
_register(
    F.batch_norm, "input running_mean running_var weight bias training momentum eps",
    lambda a: F.batch_norm(a["input"], a["running_mean"], a["running_var"], eps=a["eps"]),
    channels=True, training=False, eps=1e-5,
)  # fmt: skip


def _instance_norm(a: dict[str, Any]) -> Tensor:
    own = a["use_input_stats"]
    mean, variance = (None, None) if own else (a["running_mean"], a["running_var"])
    return F.instance_norm(a["input"], mean, variance, use_input_stats=own, eps=a["eps"])


_register(
    F.instance_norm, "input running_mean running_var weight bias use_input_stats momentum eps",
    _instance_norm, channels=True,
    running_mean=None, running_var=None, use_input_stats=True, eps=1e-5,
)  # fmt: skip


def _refuse_batch_statistics(a: dict[str, Any]) -> None:
    if a["training"]:
        raise ValueError(
            "the model normalises over the batch (BatchNorm in training mode), so a sample has no "
            "gradient of its own; call model.eval(), or use GroupNorm"
        )


REFUSALS[F.batch_norm] = _refuse_batch_statistics
