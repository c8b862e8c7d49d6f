"""Network, the frozen description of a fully connected network; torch is needed to sample it.

Conventions are the papers': L layers, widths n_0 … n_L, W_l of shape (n_{l-1}, n_l),
f_0 = x, f_l = φ(g_l) with g_l = W_lᵀ f_{l-1} for l < L and f_L = g_L. Banerjee et al. count the
hidden layers as L; here L always counts all of them.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ntkscope._base.specs import unknown
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.registry import activation as resolve_activation
from ntkscope.networks import initialization
from ntkscope.networks.initialization import Parameterization
from ntkscope.report.result import Shown

if TYPE_CHECKING:
    import torch

WeightLaw = Literal["gaussian", "uniform", "rademacher", "orthogonal"]


@dataclass(frozen=True, init=False, repr=False)
class Network(Shown):
    """A fully connected network, described and not yet sampled. Frozen, hashable, printable.

    Parameters
    ----------
    widths: n_0, …, n_L with L ≥ 2: inputs, hidden layers, outputs. ``math.inf`` is allowed in the
        hidden layers of a network whose wide limit is asked for; such a network cannot be sampled.
    activation: a name (``"relu"``), an :class:`Activation`, or a callable.
    init: ``"unit"``, ``"he"``, ``"lecun"``, ``"bombari2022:beta=1"``,
        ``"bombari2022-paired:beta=1,gamma=1"``, ``"banerjee2023:sigma0_sq=1,v=unit"``, or the
        standard deviations β_1, …, β_L of the weights as they are sampled. A named rule is for one
        parameterization and is converted to the other: the same function at the start.
    parameterization: ``"standard"`` (raw weights; Nguyen et al., Bombari et al.) or ``"ntk"``
        (W_l/√n_{l-1} in the forward pass; Banerjee et al.).
    weights: the law of the entries at equal variance: Gaussian as in the papers, uniform,
        Rademacher, or a random orthogonal matrix.
    bias_std: ``None`` for no biases (the papers); otherwise every layer has a bias with entries
        N(0, bias_std²), 0 included.
    residual: α of f_l = f_{l-1} + α φ(g_l) in the hidden layers (Nguyen et al. 2021, after
        Theorem 3.2), which needs n_0 = … = n_{L-1}; 0 for a plain network.

    Raises ValueError for widths, names or constants that make no network.
    """

    widths: tuple[int | float, ...]
    activation: Activation
    init: str | tuple[float, ...]
    parameterization: Parameterization
    weights: WeightLaw
    bias_std: float | None
    residual: float

    def __init__(
        self,
        widths: Iterable[int | float] | NDArray[Any],
        activation: str | Activation | Elementwise = "relu",
        init: str | Sequence[int | float] = "he",
        parameterization: str = "standard",
        weights: str = "gaussian",
        bias_std: float | None = None,
        residual: float = 0.0,
    ) -> None:
        sizes = _check_widths(widths)
        put = object.__setattr__
        put(self, "widths", sizes)
        put(self, "activation", resolve_activation(activation))
        put(self, "init", initialization.check_init(init, len(sizes) - 1))
        put(
            self,
            "parameterization",
            _one_of("parameterization", parameterization, Parameterization),
        )
        put(self, "weights", _one_of("weights", weights, WeightLaw))
        put(self, "bias_std", None if bias_std is None else _nonnegative("bias_std", bias_std))
        put(self, "residual", float(residual))
        self._check_combination()

    def _check_combination(self) -> None:
        if not math.isfinite(self.residual):
            raise ValueError(f"residual must be finite, got {self.residual}")
        if self.residual and len(set(self.widths[:-1])) > 1:
            raise ValueError(
                "a residual network adds f_{l-1} to f_l, so its inputs and hidden layers have one "
                f"width; got {list(self.widths)}"
            )
        if self.paired:
            last = self.widths[-2]
            if math.isinf(last) or last % 2 or self.n_outputs != 1 or self.bias_std is not None:
                raise ValueError(
                    "bombari2022-paired doubles the last hidden layer: its width must be even "
                    f"(2n_(L-1)), with one output and no biases; got widths {list(self.widths)}"
                )
            if self.residual:
                raise ValueError("bombari2022-paired is not defined for residual networks")

    @property
    def dim(self) -> int:
        """d = n_0, the number of inputs."""
        return int(self.widths[0])

    @property
    def depth(self) -> int:
        """L, the number of layers, the output layer included."""
        return len(self.widths) - 1

    @property
    def n_outputs(self) -> int:
        """n_L."""
        return int(self.widths[-1])

    @property
    def paired(self) -> bool:
        """Whether the last hidden layer holds two copies of n_{L-1} neurons (Bombari eq. 18)."""
        return initialization.is_paired(self.init)

    @property
    def finite(self) -> bool:
        """Whether every width is finite, so that the network can be sampled."""
        return not any(math.isinf(n) for n in self.widths)

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases. Raises ValueError for infinite widths."""
        self._require_finite("count the parameters of")
        sizes = [int(n) for n in self.widths]
        pairs = list(itertools.pairwise(sizes))
        return sum(a * b + (b if self.bias_std is not None else 0) for a, b in pairs)

    @property
    def betas(self) -> tuple[float, ...]:
        """β_1, …, β_L: standard deviations of the weights as they are sampled."""
        return initialization.betas(self.init, self.widths, self.activation, self.parameterization)

    @property
    def output_norm(self) -> float | None:
        """The norm of the last layer's weights where the initialization fixes it."""
        return initialization.output_norm(self.init, self.widths[-2], self.parameterization)

    @property
    def scales(self) -> tuple[float, ...]:
        """What the forward pass multiplies W_l by: 1, or 1/√n_{l-1} in "ntk"."""
        if self.parameterization == "standard":
            return (1.0,) * self.depth
        return tuple(1.0 / math.sqrt(n) for n in self.widths[:-1])

    @property
    def ntk_normalization(self) -> float:
        """The factor that takes the kernel to its common wide limit.

        1 for "ntk"; Π_{l<L} 2/n_l for "standard" with β = 1 and a homogeneous activation
        (Nguyen et al. 2021, eq. 4). Raises ValueError elsewhere: the terms of the kernel then
        scale with different widths and no common factor exists.
        """
        if self.parameterization == "ntk":
            return 1.0
        if self.activation.homogeneity == 1 and all(b == 1.0 for b in self.betas):
            return math.prod(2.0 / n for n in self.widths[1:-1])
        raise ValueError(
            f"no common wide limit for parameterization='standard', init={self.init!r}, "
            f"activation={self.activation}: its terms scale with different widths; "
            "use parameterization='ntk', or init='unit' with a homogeneous activation"
        )

    def sample(
        self,
        seed: int | torch.Generator,
        dtype: torch.dtype | str = "float64",
        device: str | torch.device = "cpu",
    ) -> Any:
        """Draw the weights of an :class:`MLP`. They depend on the seed alone, not on dtype or device."""
        self._require_finite("sample")
        # by name: mlp.py needs this class, and this class must be had without torch
        module = importlib.import_module("ntkscope.networks.mlp")
        return module.sample(self, seed, dtype, device)

    def with_widths(self, widths: Iterable[int | float]) -> Network:
        """The same network at other widths."""
        return replace_network(self, widths=tuple(widths))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that describe the network, as settings files write them."""
        return {
            "widths": [n if math.isinf(n) else int(n) for n in self.widths],
            "activation": self.activation.name,
            "init": self.init if isinstance(self.init, str) else list(self.init),
            "parameterization": self.parameterization,
            "weights": self.weights,
            "bias_std": self.bias_std,
            "residual": self.residual,
        }

    def __repr__(self) -> str:
        told = {k: v for k, v in self.to_dict().items() if v != _DEFAULTS[k] and k != "activation"}
        widths = ", ".join("inf" if math.isinf(n) else str(n) for n in told.pop("widths"))
        rest = "".join(f", {key}={value!r}" for key, value in told.items())
        return f"Network([{widths}], {self.activation.name!r}{rest})"

    def __str__(self) -> str:
        chain = "-".join("∞" if math.isinf(n) else str(int(n)) for n in self.widths)
        init = self.init if isinstance(self.init, str) else f"β={list(self.init)}"
        extra = [self.activation.name, init, self.parameterization]
        extra += [f"{self.weights} weights"] if self.weights != "gaussian" else []
        extra += [f"biases {self.bias_std:g}"] if self.bias_std is not None else []
        extra += [f"residual {self.residual:g}"] if self.residual else []
        return f"{chain} ({', '.join(extra)})"

    def _require_finite(self, what: str) -> None:
        if not self.finite:
            raise ValueError(
                f"cannot {what} a network with infinite widths ({self}); "
                "use limiting_ntk, or give finite widths"
            )


_DEFAULTS: dict[str, Any] = {
    name: parameter.default for name, parameter in inspect.signature(Network).parameters.items()
}


def replace_network(net: Network, **changes: Any) -> Network:
    """A copy of ``net`` with some fields changed, validated anew."""
    fields = {name: getattr(net, name) for name in net.__dataclass_fields__}
    return Network(**{**fields, **changes})


def _check_widths(widths: Iterable[int | float] | NDArray[Any]) -> tuple[int | float, ...]:
    try:
        sizes = tuple(widths)
    except TypeError:
        raise TypeError(f"widths must be a list n_0, …, n_L, got {widths!r}") from None
    if len(sizes) < 3:
        raise ValueError(
            f"widths needs inputs, at least one hidden layer and outputs (L ≥ 2), got {list(sizes)}"
        )
    checked: list[int | float] = []
    for index, n in enumerate(sizes):
        if isinstance(n, (bool, np.bool_)) or not isinstance(
            n, (int, float, np.integer, np.floating)
        ):
            raise TypeError(f"widths must be integers, got {n!r} in {list(sizes)}")
        if math.isinf(n) and n > 0 and 0 < index < len(sizes) - 1:
            checked.append(math.inf)
            continue
        if not math.isfinite(n) or n != int(n) or n < 1:
            raise ValueError(f"widths must be positive integers, got {n!r} in {list(sizes)}")
        checked.append(int(n))
    return tuple(checked)


def _one_of(what: str, value: str, literal: Any) -> str:
    allowed = cast("tuple[str, ...]", literal.__args__)
    if value not in allowed:
        raise ValueError(unknown(what, value, allowed))
    return value


def _nonnegative(what: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} must be at least 0 and finite, got {value}")
    return float(value)
