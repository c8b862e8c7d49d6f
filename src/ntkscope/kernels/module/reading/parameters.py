"""Which parameters are differentiated, and what they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base.inputs import FLOATS, require_strided
from ntkscope._base.specs import matching


def choose(everything: Mapping[str, nn.Parameter], params: Any) -> list[str]:
    """Names of the parameters to differentiate: trainable, and matched by a pattern if given."""
    trainable = [n for n, p in everything.items() if p.requires_grad]
    if params is None:
        if not trainable:
            raise ValueError(
                "every parameter of the model is frozen (requires_grad is False), so its NTK is "
                "zero; call model.requires_grad_(True)"
            )
        return trainable
    patterns = [params] if isinstance(params, str) else params
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            "params must be names or name patterns such as 'layer4.*', in a list if several, or a "
            f"dict of tensors by name, got {_outline(params)}"
        )
    if not patterns:
        raise ValueError(EMPTY)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = matching("parameter", pattern, everything)
        if not set(hits) & set(trainable):
            raise ValueError(
                f"{pattern!r} matches frozen parameters only ({hits[0]}); set requires_grad first"
            )
        chosen |= set(hits)
    return [n for n in trainable if n in chosen]


EMPTY = "params is empty, so nothing would be differentiated; leave it out to take all parameters"


def given(name: str, value: Any, own: Tensor) -> Tensor:
    """A copy of the value given for a model's ``own`` parameter. Raises TypeError or ValueError for one
    that it cannot take."""
    called = f"params[{name!r}]"
    try:
        tensor = torch.as_tensor(value, dtype=None if hasattr(value, "dtype") else own.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{called} must be a tensor or an array of numbers: {error}") from None
    require_strided(tensor, called)
    if tensor.shape != own.shape:
        raise ValueError(
            f"{called} has shape {tuple(tensor.shape)}, and the model's {tuple(own.shape)}"
        )
    if tensor.dtype != own.dtype:
        raise TypeError(
            f"{called} is {tensor.dtype}, and the model's {own.dtype}; convert one to the other's"
        )
    if tensor.device != own.device:
        raise ValueError(
            f"{called} is on {tensor.device}, and the model's on {own.device}; keep both on one device"
        )
    return tensor.detach().clone()


def with_entries(names: Sequence[str], values: Mapping[str, Tensor]) -> list[str]:
    """The names but for those of tensors without entries, whose kernel is zero. Raises ValueError if
    none is left."""
    left = [n for n in names if values[n].numel()]
    if not left:
        raise ValueError(
            f"the parameters to differentiate hold no entries ({names[0]!r} has shape "
            f"{tuple(values[names[0]].shape)}), so the NTK is zero; choose others"
        )
    return left


def _outline(value: Any) -> str:
    """Type and length: the values may be a model's weights."""
    kind = type(value).__name__
    if not isinstance(value, Sequence):
        return kind
    kinds = sorted({type(v).__name__ for v in value})
    return f"a {kind} of {len(value)} ({', '.join(kinds)})"


def refuse_hooks(parameters: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a gradient hook."""
    for name, p in parameters.items():
        if p._backward_hooks:
            raise ValueError(
                f"parameter {name!r} has a gradient hook (register_hook): the gradient that it "
                "makes is not the derivative, and the kernel would not pass it; remove the hook "
                "with handle.remove()"
            )


def check_parameters(parameters: Mapping[str, Tensor]) -> None:
    """Raises TypeError or ValueError for parameters that carry no spectrum, or differ in kind."""
    for name, p in parameters.items():
        if p.is_meta:
            raise ValueError(
                f"parameter {name!r} is on the meta device and holds no values; call "
                "model.to_empty(device=...) and load them"
            )
        require_strided(p, f"parameter {name!r}")
        if p.is_complex():
            raise TypeError(
                f"parameter {name!r} is {p.dtype}; the NTK here is of real parameters: hold real "
                "and imaginary parts as two"
            )
        if p.dtype not in FLOATS:
            raise TypeError(
                f"parameter {name!r} is {p.dtype}, which cannot carry a spectrum; call "
                "model.double() (or .float())"
            )
        if not bool(torch.isfinite(p).all()):
            raise ValueError(f"parameter {name!r} holds values that are NaN or infinite")
    first_name, first = next(iter(parameters.items()))
    for name, p in parameters.items():
        if p.dtype != first.dtype:
            raise TypeError(
                f"parameters have two precisions: {first_name!r} is {first.dtype}, {name!r} "
                f"{p.dtype}; call model.to({first.dtype})"
            )
        if p.device != first.device:
            raise ValueError(
                f"parameters are on two devices: {first_name!r} on {first.device}, {name!r} on "
                f"{p.device}; move the model to one"
            )
