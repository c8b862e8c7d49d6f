"""How to train: optimizer, step size, number of steps, and where the state is saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ntkscope._base.specs import parse_spec, reject_unknown_options, unknown
from ntkscope.networks.network import Network
from ntkscope.report.result import Result
from ntkscope.training.boost import gamma_of
from ntkscope.training.optimizers import Rule


@dataclass(frozen=True)
class Recipe(Result):
    """How to train.

    Parameters
    ----------
    steps: number of steps.
    optimizer: ``"gd"`` (closed form), ``"momentum:beta=0.9"``,
        ``"adam:beta1=0.9,beta2=0.999"`` or ``"sgd:batch=32,beta=0"`` (torch.optim).
    eta: a number; ``"lambda_max:fraction=0.5"``, that fraction of the stability limit 2/λ_max(K_0)
        (2(1 + μ)/λ_max with momentum); ``"theorem:C=1"``, C/(γ N d n_{L-1}) of Theorem 4.2; or
        ``"auto"``: lambda_max, and 1e-3 for Adam.
    probes: how many times K_t is measured, at geometrically spaced steps, start and end included.
    tol: stop when the loss is below tol times its start.
    seed: of SGD's batches.
    """

    steps: int = 1000
    optimizer: str = "gd"
    eta: int | float | str = "auto"
    probes: int = 12
    tol: int | float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("probes", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if not 0.0 <= self.tol < 1.0:
            raise ValueError(f"tol must lie in [0, 1), got {self.tol}")


@dataclass(frozen=True)
class Checkpoint:
    """Where to save the state, every how many steps, and whether to continue from it."""

    path: str | Path
    every: int = 1000
    resume: bool = False


def step_size(eta: int | float | str, rule: Rule, net: Network, N: int, limit: float) -> float:
    """η as a number, from a number, ``auto``, ``lambda_max:fraction=…`` or ``theorem:C=…``.

    Raises ValueError for an unknown form, or a number that is not positive and finite.
    """
    number: float
    try:
        number = float(eta)
    except ValueError:
        number = _named_step_size(str(eta), rule, net, N, limit)
    if isinstance(eta, bool) or not (math.isfinite(number) and number > 0):
        raise ValueError(f"eta must be positive and finite, got {eta!r}")
    return number


def _named_step_size(text: str, rule: Rule, net: Network, N: int, limit: float) -> float:
    options = {"auto": (), "lambda_max": ("fraction",), "theorem": ("C",)}
    spec = parse_spec(text)
    if spec.name not in options:
        raise ValueError(unknown("eta", spec.name, options) + ", or a number")
    reject_unknown_options("eta", spec, options[spec.name])
    for key, value in spec.options.items():
        if isinstance(value, (bool, str)) or not value > 0:
            raise ValueError(f"eta {spec.name!r}: {key} must be positive, got {value!r}")
    if spec.name == "theorem":
        half = float(net.widths[-2]) / (2.0 if net.paired else 1.0)
        return float(spec.options.get("C", 1.0)) / (gamma_of(net) * N * net.dim * half)
    if spec.name == "auto" and rule.name == "adam":
        return 1e-3
    return float(spec.options.get("fraction", 0.5)) * limit
