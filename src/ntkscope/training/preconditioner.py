"""How an optimizer of torch steps near where it stands: preconditioner, weight decay, threshold of stability."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

Group = dict[str, Any]

_UNLIKE = 3.0  # gradients so many times the largest that v̂ can come from, |g| ≤ √(v̂/(1 − β₂))


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """θ ← θ − η P⁻¹ m, m a moving average of gradients, with P frozen as it is.

    On a quadratic with Hessian H the steps are stable for η λ_max(P^-½ (H + D) P^-½) below ``threshold``.

    Attributes
    ----------
    rate: η. threshold: 2(1 + μ)/(1 − d) for SGD with momentum μ and dampening d, 2(1 + μ)/(1 + 2μ) in
        Nesterov's form, (2 + 2β₁)/(1 − β₁) for Adam (Cohen et al. 2021; 2022).
    held: the names of the parameters that it steps.
    scale: P at each of them that has been stepped; None where it is 1.
    decay: D, the weight decay w: w for SGD and Adam, w P (1 + β₁)/(1 − β₁) for AdamW's, which is no part of m.
    largest_seen: for Adam a norm of each parameter's gradient beyond which v̂ cannot have come from such gradients.
    """

    rate: float
    threshold: float
    held: Collection[str] = ()
    scale: Mapping[str, Tensor] | None = None
    decay: Mapping[str, Tensor] = field(default_factory=dict)
    largest_seen: Mapping[str, float] = field(default_factory=dict)

    @property
    def edge(self) -> float:
        """The λ_max(P^-½ (H + D) P^-½) above which steps are unstable; infinite at a rate of 0."""
        return self.threshold / self.rate if self.rate else math.inf

    @property
    def plain(self) -> bool:
        """Whether P is 1 and D is 0."""
        return self.scale is None and not self.decay

    def require(self, names: Collection[str]) -> None:
        """Raise ValueError where it does not hold these parameters, or has not stepped them."""
        missing = [name for name in names if name not in self.held]
        if missing and len(missing) == len(names):
            raise ValueError(
                f"the optimizer holds none of {_listed(missing)}; pass the optimizer that trains them"
            )
        if missing:
            raise ValueError(
                f"the optimizer does not hold {_listed(missing)}; pass params= for the parameters that "
                "it trains"
            )
        fresh = [] if self.scale is None else [n for n in names if n not in self.scale]
        if fresh:
            raise ValueError(
                f"the optimizer has not taken a step with {_listed(fresh)}, and has no preconditioner "
                "before; take one, or pass params= for those that are trained"
            )

    def roots(self, shapes: Mapping[str, Tensor]) -> Float[Tensor, P] | None:
        """P^-½ of these parameters in their order, 1 of those that it has not stepped; None for 1."""
        if self.scale is None:
            return None
        return _flat(shapes, self.scale, 1.0).rsqrt()

    def shifts(self, shapes: Mapping[str, Tensor]) -> Float[Tensor, P] | None:
        """P⁻¹ D, None for 0."""
        if not self.decay:
            return None
        decay = _flat(shapes, self.decay, 0.0)
        return decay if self.scale is None else decay / _flat(shapes, self.scale, 1.0)


def _flat(shapes: Mapping[str, Tensor], given: Mapping[str, Tensor], other: float) -> Tensor:
    parts = [
        given[name].to(p.device).expand_as(p) if name in given
        else torch.full_like(p, other, dtype=torch.float64)
        for name, p in shapes.items()
    ]  # fmt: skip
    return torch.cat([part.reshape(-1) for part in parts])


def _listed(names: Collection[str], most: int = 4) -> str:
    shown = ", ".join([*names][:most])
    return shown + (f" and {len(names) - most} others" if len(names) > most else "")


def preconditioner(optimizer: torch.optim.Optimizer, model: Any) -> Preconditioner:
    """Of SGD, Adam or AdamW on those parameters of ``model`` that it holds.

    For Adam P = (1 − β₁ᵗ)(diag √v̂ + ε) of the last step t, v̂ = v/(1 − β₂ᵗ), or its maximum with
    ``amsgrad``. Groups of different rates go into P relative to the first.

    Raises
    ------
    TypeError
        For another optimizer, or a model that is no module.
    ValueError
        For groups of different momentum, a rate of 0 beside others, ``maximize``.
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
    relative = _relative_rates(groups)
    if any(group.get("maximize") for group in groups):
        raise ValueError("the optimizer maximizes, and a curvature's sign is that of a minimum")
    names = {id(p): name for name, p in model.named_parameters()}
    held, scale, largest_seen = (
        dict[str, tuple[Group, float]](),
        dict[str, Tensor](),
        dict[str, float](),
    )
    for group, rate in zip(groups, relative, strict=True):
        for p in group["params"]:
            name = names.get(id(p))
            if name is None:
                continue
            held[name] = group, rate
            if isinstance(optimizer, SGD):
                scale[name] = torch.full((), 1 / rate, dtype=torch.float64, device=p.device)
            elif "exp_avg_sq" in optimizer.state.get(p, {}):
                root, grown = _root(optimizer.state[p], group)
                scale[name] = grown * root / rate
                largest = _UNLIKE / math.sqrt(1 - float(group["betas"][1]))
                largest_seen[name] = largest * float(torch.linalg.vector_norm(root))
    decay = {
        name: _decay(optimizer, group, scale[name], rate)
        for name, (group, rate) in held.items()
        if group["weight_decay"] and name in scale
    }
    one = isinstance(optimizer, SGD) and set(relative) == {1.0}
    return Preconditioner(
        float(groups[0]["lr"]),
        thresholds.pop(),
        frozenset(held),
        None if one else scale,
        decay,
        largest_seen,
    )


def _relative_rates(groups: list[Group]) -> list[float]:
    """To the first group's; where a schedule has brought all to 0, of the rates that it began with."""
    rates = [float(group["lr"]) for group in groups]
    if not any(rates):
        rates = [float(group.get("initial_lr", 1.0)) for group in groups]
    if min(rates) <= 0:
        raise ValueError(f"learning rates must be positive, or all 0, got {min(rates)}")
    return [rate / rates[0] for rate in rates]


def _threshold(group: Group, plain: bool) -> float:
    if not plain:
        beta = float(group["betas"][0])
        return (2 + 2 * beta) / (1 - beta)
    momentum = float(group["momentum"])
    if group["nesterov"]:
        return 2 * (1 + momentum) / (1 + 2 * momentum)
    # without momentum torch does not dampen
    return 2 * (1 + momentum) / (1 - float(group["dampening"]) * bool(momentum))


def _root(state: dict[str, Any], group: Group) -> tuple[Tensor, float]:
    """√v̂ + ε and 1 − β₁ᵗ."""
    step, (beta1, beta2) = float(state["step"]), map(float, group["betas"])
    second = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    root = (second.detach().to(torch.float64) / (1 - beta2**step)).sqrt()
    return root + float(group["eps"]), 1 - beta1**step


def _decay(optimizer: torch.optim.Optimizer, group: Group, scale: Tensor, rate: float) -> Tensor:
    weight = float(group["weight_decay"])
    if not (isinstance(optimizer, AdamW) or group.get("decoupled_weight_decay")):
        return torch.full_like(scale, weight)
    # θ ← (1 − η w) θ − η P⁻¹ m: a mode of curvature λ turns at −1 for η ((1 − β₁) λ + (1 + β₁) w) = 2 (1 + β₁)
    beta = float(group["betas"][0])
    return scale * (weight * rate * (1 + beta) / (1 - beta))
