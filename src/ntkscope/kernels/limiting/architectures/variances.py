"""The variance of each parameter: as the model stands, by name, or as torch initialises it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ntkscope._base.specs import unknown

Variances = str | Mapping[str, float]  # "measured", "nominal", or by name


@dataclass(frozen=True)
class Parameter:
    """A parameter of the model, with the variance of its entries in the limit."""

    name: str
    tensor: Tensor
    variance: float
    learned: bool


def parameters_of(model: nn.Module, variances: Variances) -> dict[str, Parameter]:
    """Every parameter by name.

    Raises ValueError for values that are not finite, unknown choices, and patterns that no
    parameter matches.
    """
    tensors = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"parameter {name} has values that are not finite")
    if isinstance(variances, str) and variances not in ("measured", "nominal"):
        raise ValueError(
            unknown("variances", variances, ("measured", "nominal")) + ", or {pattern: variance}"
        )
    found: dict[str, float] = {}
    if isinstance(variances, str):
        nominal = _nominal(model) if variances == "nominal" else {}
        if variances == "nominal":
            missing = [n for n, t in tensors.items() if n not in nominal and t.ndim > 1]
            if missing:
                raise ValueError(
                    f"the initialization of {', '.join(missing[:3])} is not one of torch's layers; "
                    "give variances={pattern: variance} or take variances='measured'"
                )
        found = nominal
    else:
        for pattern, value in variances.items():
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
                raise ValueError(f"variances[{pattern!r}] must be a number ≥ 0, got {value!r}")
            matched = [n for n in tensors if fnmatchcase(n, pattern)]
            if not matched:
                raise ValueError(
                    f"variances: no parameter matches {pattern!r}; there are "
                    f"{', '.join(list(tensors)[:8])}{', …' if len(tensors) > 8 else ''}"
                )
            found.update(dict.fromkeys(matched, float(value)))
    return {
        name: Parameter(name, t, found.get(name, _mean_square(t)), t.requires_grad)
        for name, t in tensors.items()
    }


def _mean_square(tensor: Tensor) -> float:
    return (
        float(tensor.detach().to("cpu", torch.float64).square().mean()) if tensor.numel() else 0.0
    )


def _nominal(model: nn.Module) -> dict[str, float]:
    """What reset_parameters of torch's layers draws from: U(±1/√n) for weights and biases."""
    found = {}
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, kinds):
            fan = module.weight[0].numel()
            found[f"{prefix}weight"] = 1.0 / (3.0 * fan)
            found[f"{prefix}bias"] = 1.0 / (3.0 * fan)
        elif isinstance(module, nn.Embedding):
            found[f"{prefix}weight"] = 1.0
    return found
