"""Attention as torch packs it: seen through its linear parts.

``F.multi_head_attention_forward`` is a Python function that hands itself to a
``TorchFunctionMode`` as a whole, so that its linear layers stay unseen; inside the mode's handler
the mode is off. No setting of torch opens it: it asks its module's ``has_torch_function``, which
answers yes while a mode is on. Run here is the same code object with that one question answered
no, and its packed projection taken apart otherwise. Replacing the name in torch's own module would do
the same to every thread; a copy of the function's text would fall behind torch's.
"""

from __future__ import annotations

import types
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.module.reading.layers.layer import OPENED

_project: Any = getattr(F, "_in_projection_packed", None)


def _projected(q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
    """Queries, keys and values by one product, taken apart by ``unbind``.

    torch's own takes them apart by index, and the gradient of an index is a tensor of zeros as large
    as all three, filled and added for each of them in every backward pass.
    """
    if k is not v or q is not k:
        return _project(q, k, v, w, b)
    both = F.linear(q, w, b).unflatten(-1, (3, q.shape[-1]))
    return both.movedim(-2, 0).contiguous().unbind(0)


def _opened(function: Any, **names: Any) -> Any:
    """A Python function of torch whose inner calls pass the mode, instead of the whole function.

    ``names`` replace functions that it calls.
    """
    inner = {**function.__globals__, **names, "has_torch_function": lambda *_: False}
    copy = types.FunctionType(
        function.__code__, inner, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


OPENED[F.multi_head_attention_forward] = _opened(
    F.multi_head_attention_forward, _in_projection_packed=_projected
)
