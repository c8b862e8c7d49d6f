"""Activations whose derivative costs more than a product: found once for the passes back of all outputs.

torch finds it again in every pass back, by an erf and an exponential an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


class _Sloped(Function):
    """y of a ``call`` of x; ``back`` of a gradient and x is its product with the slope."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, call: Callable[[Tensor], Tensor], back: Callable[..., Tensor]
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.back, ctx.slope = back, None
        return call(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,), (g,) = ctx.saved_tensors, gradients
        if torch.is_grad_enabled():  # this gradient is to have one
            return ctx.back(g, x), None, None
        if ctx.slope is None:  # threads that come at once find the same
            ctx.slope = ctx.back(torch.ones_like(x), x)
        return g * ctx.slope, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        made: Tensor = ctx.back(tangents[0], *ctx.saved_tensors)
        return made


_apply: Callable[..., Tensor] = cast(Any, _Sloped).apply  # which has no types


def _gelu(input: Tensor, approximate: str = "none") -> Tensor:
    back = torch.ops.aten.gelu_backward
    return _apply(
        input,
        lambda x: F.gelu(x, approximate=approximate),
        lambda g, x: back(g, x, approximate=approximate),
    )


def _silu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return F.silu(input, inplace=True)
    return _apply(input, F.silu, _silu_back)


def _silu_back(g: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(x)  # torch's own call has no derivative
    return g * (s * (1 + x * (1 - s)))


_SLOPED: dict[Any, Callable[..., Tensor]] = {F.gelu: _gelu, F.silu: _silu}


def with_slope(func: Callable[..., Any]) -> Callable[..., Any]:
    """What does the same as ``func`` and keeps its slope, where that is worth it and no transform looks inside."""
    active = torch._C._are_functorch_transforms_active()
    return func if active else _SLOPED.get(func, func)
