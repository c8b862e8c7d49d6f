"""The optimizers that training follows, each one step at a time and resumable in every bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base.inputs import as_seed
from ntkscope._base.specs import Value, parse_spec, reject_unknown_options, unknown
from ntkscope.networks.mlp import MLP
from ntkscope.training.gradients import GradientStep

_OPTIONS: dict[str, dict[str, float]] = {
    "gd": {},
    "momentum": {"beta": 0.9},
    "adam": {"beta1": 0.9, "beta2": 0.999},
    "sgd": {"batch": 32, "beta": 0.0},
}


@dataclass(frozen=True)
class Rule:
    """A parsed optimizer: its name and numbers."""

    name: str
    options: dict[str, float]

    @property
    def momentum(self) -> float | None:
        """The heavy-ball μ of full-batch descent; ``None`` where no linear recursion holds."""
        return {"gd": 0.0, "momentum": self.options.get("beta", 0.0)}.get(self.name)

    @property
    def stability(self) -> float:
        """η λ_max must stay below this: 2 for gradient descent, 2(1 + μ) with momentum."""
        return 2.0 * (1.0 + (self.momentum or 0.0))

    def __str__(self) -> str:
        chosen = ",".join(f"{k}={v:g}" for k, v in self.options.items())
        return f"{self.name}:{chosen}" if chosen else self.name


def parse_optimizer(text: str) -> Rule:
    """``gd``, ``momentum:beta=0.9``, ``adam:beta1=0.9,beta2=0.999`` or ``sgd:batch=32,beta=0``.

    Raises ValueError for an unknown name or option, or a number out of range.
    """
    spec = parse_spec(text)
    if spec.name not in _OPTIONS:
        raise ValueError(unknown("optimizer", spec.name, _OPTIONS))
    reject_unknown_options("optimizer", spec, _OPTIONS[spec.name])
    options = {**_OPTIONS[spec.name]}
    for key, value in spec.options.items():
        options[key] = _in_range(spec.name, key, value)
    return Rule(spec.name, options)


def _in_range(name: str, key: str, value: Value) -> float:
    number = not isinstance(value, (bool, str))
    if key == "batch":
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"optimizer {name!r}: batch must be a positive integer, got {value!r}")
    elif not number or not 0.0 <= float(value) < 1.0:
        raise ValueError(f"optimizer {name!r}: {key} must lie in [0, 1), got {value!r}")
    return float(value)


class Stepper(ABC):
    """Moves a model; ``state``/``restore`` carry what the weights alone do not."""

    @abstractmethod
    def step(self) -> None:
        """Take one step from the θ at which ``closed.forward`` was last called."""

    def state(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""
        return {}

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""


class _Descent(Stepper):
    def __init__(self, closed: GradientStep, eta: float) -> None:
        self._closed, self._eta = closed, eta

    def step(self) -> None:
        self._closed.backward(self._eta)

    def restore(self, state: dict[str, Any]) -> None:
        del state  # the weights are all there is


class _Torch(Stepper):
    """torch.optim on the autograd gradient of ½‖F − Y‖², of a batch scaled up to the whole."""

    def __init__(
        self, rule: Rule, model: MLP, data: tuple[Tensor, Tensor], eta: float, seed: int
    ) -> None:
        self._model, (self._X, self._Y) = model, data
        self._batch = int(rule.options["batch"]) if rule.name == "sgd" else 0
        self._generator = as_seed(seed, "batches")
        self._optimizer: torch.optim.Optimizer
        if rule.name == "adam":
            betas = (rule.options["beta1"], rule.options["beta2"])
            self._optimizer = torch.optim.Adam(model.parameters(), lr=eta, betas=betas)
        else:
            self._optimizer = torch.optim.SGD(
                model.parameters(), lr=eta, momentum=rule.options["beta"]
            )

    def step(self) -> None:
        X, Y, weight = self._X, self._Y, 1.0
        if self._batch:
            rows = torch.randperm(len(X), generator=self._generator)[: self._batch]
            weight = len(X) / len(rows)
            X, Y = X[rows], Y[rows]
        self._optimizer.zero_grad()
        loss = 0.5 * weight * ((self._model(X)[:, 0] - Y) ** 2).sum()
        loss.backward()
        self._optimizer.step()

    def state(self) -> dict[str, Any]:
        return {
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])


def make_stepper(
    rule: Rule, closed: GradientStep, Y: Float[Tensor, N], eta: float, seed: int
) -> Stepper:
    """The stepper of ``rule`` on the model and data of ``closed``."""
    if rule.name == "gd":
        return _Descent(closed, eta)
    if rule.name == "sgd" and rule.options["batch"] > len(Y):
        raise ValueError(
            f"batch={rule.options['batch']:g} exceeds the {len(Y)} samples; use momentum for full batches"
        )
    return _Torch(rule, closed.model, (closed.X, Y), eta, seed)
