"""What has no limit, or none in closed form, and why."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_REASONS = {
    "matmul": "it multiplies two tensors that depend on weights, or meets weights transposed",
    "max_pool": "the maximum of correlated Gaussians has no closed form; take average pooling",
    "softmax": (
        "attention or gating by a softmax with a fixed number of heads stays random at infinite "
        "width"
    ),
    "attention": "softmax attention with a fixed number of heads stays random at infinite width",
    "multi_head": "softmax attention with a fixed number of heads stays random at infinite width",
    "lstm": "its weights are used at every step, so the steps are not independent",
    "gru": "its weights are used at every step, so the steps are not independent",
    "rnn": "its weights are used at every step, so the steps are not independent",
    "mul": (
        "it multiplies two branches; an activation written so belongs in a module of its own, "
        "without parameters"
    ),
    "instance_norm": (
        "its mean and variance over the positions of one channel stay random at infinite width; "
        "take GroupNorm"
    ),
    "detach": "it cuts the gradient; the tangent kernel would be that of another model",
}

_TENSOR: Any = Tensor
READS_VALUES = {
    Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item,
    Tensor.tolist, Tensor.__contains__, torch.equal, torch.allclose, torch.is_nonzero,
}  # fmt: skip


def reason_for(name: str) -> str:
    """Why the torch function ``name`` is refused."""
    for key, reason in _REASONS.items():
        if key in name.lower():
            return reason
    return f"no rule is known for {name}"


def refuse_modules(model: nn.Module) -> None:
    """Raise ValueError for modules in a mode, or of a kind, that no pass need be made for."""
    for path, module in model.named_modules():
        where = f"{path or 'the model'} ({type(module).__name__})"
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{where} normalises over the batch (training mode), which has no limit of its "
                "own for a sample; call model.eval(), or use GroupNorm"
            )
        if module.training and isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(f"{where} draws random numbers (training mode); call model.eval()")
        if isinstance(module, nn.RNNBase):
            raise ValueError(f"{where} has no infinite-width limit here: {_REASONS['rnn']}")
        if isinstance(module, nn.MultiheadAttention):
            raise ValueError(f"{where} has no infinite-width limit here: {_REASONS['attention']}")


def refuse_random(where: str, name: str, bound: dict[str, Any]) -> None:
    """Raise ValueError for functions in training mode, before they run."""
    if bound.get("training") and ("dropout" in name or "batch_norm" in name):
        raise ValueError(f"{where} is in training mode ({name}); call model.eval()")
