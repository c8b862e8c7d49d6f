"""How an optimizer of torch steps near where it stands: its preconditioner and its threshold of stability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

Group = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """θ ← θ − η P⁻¹ m, m a moving average of gradients, with P frozen as it is.

    On a quadratic with Hessian H the steps are stable for η λ_max(P^-½ H P^-½) below ``threshold``.

    Attributes
    ----------
    rate: η. threshold: 2(1 + μ)/(1 − d) for SGD with momentum μ and dampening d, 2(1 + μ)/(1 + 2μ) in
        Nesterov's form, (2 + 2β₁)/(1 − β₁) for Adam (Cohen et al. 2021; 2022).
    scale: P at each parameter by its name; None where it is 1.
    """

    rate: float
    threshold: float
    scale: dict[str, Tensor] | None = None

    @property
    def edge(self) -> float:
        """The λ_max(P^-½ H P^-½) above which steps are unstable."""
        return self.threshold / self.rate


def preconditioner(optimizer: torch.optim.Optimizer, model: Any) -> Preconditioner:
    """Of SGD, Adam or AdamW on the parameters of ``model``.

    For Adam P = (1 − β₁ᵗ)(diag √v̂ + ε) of the last step t, v̂ = v/(1 − β₂ᵗ), or its maximum with
    ``amsgrad``. Groups of different rates go into P relative to the first. Weight decay, no part of the
    loss here, is left out.

    Raises
    ------
    TypeError
        For another optimizer, or a model that is no module.
    ValueError
        Before an optimizer's first step, for groups of different momentum, a rate of 0, ``maximize``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"an optimizer's parameters are a module's, got {type(model).__name__}")
    if not isinstance(optimizer, (SGD, Adam, AdamW)):
        raise TypeError(
            f"stability is known here for SGD, Adam and AdamW, got {type(optimizer).__name__}"
        )
    groups = optimizer.param_groups
    thresholds = {_threshold(group, isinstance(optimizer, SGD)) for group in groups}
    if len(thresholds) > 1:
        raise ValueError("the optimizer's groups differ in momentum, which has no one threshold")
    rates = [float(group["lr"]) for group in groups]
    if min(rates) <= 0:
        raise ValueError(f"learning rates must be positive, got {min(rates)}")
    if any(group.get("maximize") for group in groups):
        raise ValueError("the optimizer maximizes, and a curvature's sign is that of a minimum")
    if isinstance(optimizer, SGD) and len(set(rates)) == 1:
        return Preconditioner(rates[0], thresholds.pop())
    names = {id(p): name for name, p in model.named_parameters()}
    scale = {
        names[id(p)]: _scale(optimizer, group, p) * (rates[0] / rate)
        for group, rate in zip(groups, rates, strict=True)
        for p in group["params"]
        if id(p) in names
    }
    return Preconditioner(rates[0], thresholds.pop(), scale)


def _threshold(group: Group, plain: bool) -> float:
    if not plain:
        beta = float(group["betas"][0])
        return (2 + 2 * beta) / (1 - beta)
    momentum = float(group["momentum"])
    if group["nesterov"]:
        return 2 * (1 + momentum) / (1 + 2 * momentum)
    # without momentum torch does not dampen
    return 2 * (1 + momentum) / (1 - float(group["dampening"]) * bool(momentum))


def _scale(optimizer: torch.optim.Optimizer, group: Group, p: Tensor) -> Tensor:
    if isinstance(optimizer, SGD):
        return torch.ones_like(p, dtype=torch.float64)
    state = optimizer.state.get(p, {})
    if "exp_avg_sq" not in state:
        raise ValueError(
            f"{type(optimizer).__name__} has not taken a step with a parameter of shape "
            f"{tuple(p.shape)}, and has no preconditioner before; take one, or pass params= for "
            "those that are trained"
        )
    step, (beta1, beta2) = float(state["step"]), map(float, group["betas"])
    second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    root = (second.detach().to(torch.float64) / (1 - beta2**step)).sqrt()
    return (1 - beta1**step) * (root + float(group["eps"]))
