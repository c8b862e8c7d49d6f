"""Network, the frozen description, and MLP, the torch module it samples.

Conventions are the papers': L layers, widths n_0 … n_L, W_l of shape (n_{l-1}, n_l),
f_0 = x, f_l = φ(g_l) with g_l = W_lᵀ f_{l-1} for l < L and f_L = g_L. Banerjee et al. count the
hidden layers as L; here L always counts all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ntkscope._base.inputs import as_dtype, as_seed, require_finite
from ntkscope._base.specs import unknown
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.activation import activation as resolve_activation
from ntkscope.networks import initialization

Parameterization = Literal["standard", "ntk"]
WeightLaw = Literal["gaussian", "uniform", "rademacher", "orthogonal"]


@dataclass(frozen=True, init=False)
class Network:
    """A fully connected network, described and not yet sampled. Frozen, hashable, printable.

    Parameters
    ----------
    widths: n_0, …, n_L with L ≥ 2: inputs, hidden layers, outputs. ``math.inf`` is allowed in the
        hidden layers of a network whose wide limit is asked for; such a network cannot be sampled.
    activation: a name (``"relu"``), an :class:`Activation`, or a callable.
    init: ``"unit"``, ``"he"``, ``"lecun"``, ``"bombari2022:beta=1"``,
        ``"bombari2022-paired:beta=1,gamma=1"``, ``"banerjee2023:sigma0_sq=1,v=unit"``, or the
        standard deviations β_1, …, β_L of the weights as they are sampled.
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
        widths: Iterable[int | float],
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
        dtype: torch.dtype | str = torch.float64,
        device: str | torch.device = "cpu",
    ) -> MLP:
        """Draw the weights. The numbers depend on the seed alone, not on dtype or device."""
        self._require_finite("sample")
        generator = as_seed(seed, "weights")
        matrices = [
            _draw(self.weights, int(a), int(b), beta, generator)
            for a, b, beta in zip(self.widths[:-1], self.widths[1:], self.betas, strict=True)
        ]
        if self.paired:
            half = int(self.widths[-2]) // 2
            matrices[-2][:, half:] = matrices[-2][:, :half]
            matrices[-1][half:] = -matrices[-1][:half]
        if initialization.unit_output(self.init):
            matrices[-1] = matrices[-1] / torch.linalg.vector_norm(matrices[-1], dim=0)
        biases = None
        if self.bias_std is not None:
            biases = [
                torch.randn(int(n), generator=generator, dtype=torch.float64) * self.bias_std
                for n in self.widths[1:]
            ]
        return MLP(self, matrices, biases).to(device=device, dtype=as_dtype(dtype))

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


def replace_network(net: Network, **changes: Any) -> Network:
    """A copy of ``net`` with some fields changed, validated anew."""
    fields = {name: getattr(net, name) for name in net.__dataclass_fields__}
    return Network(**{**fields, **changes})


class MLP(nn.Module):
    """A sampled network: f(X) of shape (N, n_L), with W_l of shape (n_{l-1}, n_l).

    ``weights`` and ``biases`` are ordinary parameters; the two halves of a paired network
    (Bombari eq. 18) are evaluated by separate products of one shape, so that f(θ_0, ·) is exactly 0.
    """

    network: Network

    def __init__(
        self, network: Network, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.weights = nn.ParameterList([nn.Parameter(w) for w in weights])
        self.biases = nn.ParameterList([nn.Parameter(b) for b in biases or ()])

    @classmethod
    def from_weights(
        cls,
        weights: Sequence[Any],
        activation: str | Activation | Elementwise = "relu",
        *,
        biases: Sequence[Any] | None = None,
        parameterization: str = "standard",
        residual: float = 0.0,
        network: Network | None = None,
    ) -> MLP:
        """A network of your own weights, W_l of shape (n_{l-1}, n_l).

        ``network`` states how they were made (its widths must agree); without it the β_l are
        unknown. Raises ValueError for shapes that do not chain or values that are not finite.
        """
        matrices = [torch.as_tensor(w).detach().clone() for w in weights]
        _check_chain(matrices)
        dtype = matrices[0].dtype if matrices[0].is_floating_point() else torch.float64
        matrices = [m.to(dtype) for m in matrices]
        for index, matrix in enumerate(matrices, 1):
            require_finite(matrix, f"W_{index}")
        vectors = None
        if biases is not None:
            vectors = [torch.as_tensor(b).detach().clone().to(dtype) for b in biases]
            sizes = [m.shape[1] for m in matrices]
            if [tuple(v.shape) for v in vectors] != [(n,) for n in sizes]:
                got = [tuple(v.shape) for v in vectors]
                raise ValueError(f"biases must have shapes {[(n,) for n in sizes]}, got {got}")
            for index, vector in enumerate(vectors, 1):
                require_finite(vector, f"b_{index}")
        widths = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
        if network is None:
            network = Network(
                widths, activation, initialization.GIVEN, parameterization,
                bias_std=None if vectors is None else 0.0, residual=residual,
            )  # fmt: skip
        elif tuple(network.widths) != tuple(widths):
            raise ValueError(f"weights have widths {widths}, the network {list(network.widths)}")
        return cls(network, matrices, vectors)

    @property
    def dtype(self) -> torch.dtype:
        return self.weights[0].dtype

    @property
    def device(self) -> torch.device:
        return self.weights[0].device

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum(p.numel() for p in self.parameters())

    def layers(self, X: Float[Tensor, "N d"]) -> tuple[list[Tensor], list[Tensor]]:
        """([F_0, …, F_{L-1}], [G_1, …, G_L]): features and pre-activations, each (N, n_l)."""
        network = self.network
        features, preactivations = [X], []
        for index in range(network.depth):
            last = index == network.depth - 1
            g = self._last(features[-1]) if last else self._affine(features[-1], index)
            preactivations.append(g)
            if not last:
                f = network.activation(g)
                features.append(features[-1] + network.residual * f if network.residual else f)
        return features, preactivations

    def forward(self, X: Float[Tensor, "N d"]) -> Float[Tensor, "N k"]:
        return self.layers(X)[1][-1]

    def _affine(self, f: Tensor, index: int) -> Tensor:
        scale = self.network.scales[index]
        if self.network.paired and index == self.network.depth - 2:
            half = self.weights[index].shape[1] // 2
            # one product of one shape for each half: equal halves then give equal bits
            first, second = (
                f @ part.contiguous() for part in self.weights[index].split(half, dim=1)
            )
            g = torch.cat([first, second], dim=1)
        else:
            g = f @ self.weights[index]
        g = g * scale if scale != 1.0 else g
        return g + self.biases[index] if len(self.biases) else g

    def _last(self, f: Tensor) -> Tensor:
        if not self.network.paired:
            return self._affine(f, self.network.depth - 1)
        # φ₁w₁ + φ₂w₂ = (φ₁ − φ₂)w₁ + φ₂(w₁ + w₂): zero at the start in every bit, and free of
        # cancellation when γ makes w large
        half = f.shape[1] // 2
        first, second = f[:, :half], f[:, half:]
        w1, w2 = self.weights[-1][:half], self.weights[-1][half:]
        return ((first - second) @ w1 + second @ (w1 + w2)) * self.network.scales[-1]

    def extra_repr(self) -> str:
        return str(self.network)


def _check_widths(widths: Iterable[int | float]) -> tuple[int | float, ...]:
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
        if isinstance(n, bool) or not isinstance(n, (int, float)):
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


def _check_chain(matrices: Sequence[Tensor]) -> None:
    shapes = [tuple(m.shape) for m in matrices]
    if len(shapes) < 2 or any(len(s) != 2 for s in shapes):
        raise ValueError(
            f"expected at least two matrices W_l of shape (n_(l-1), n_l), got {shapes}"
        )
    for left, right in itertools.pairwise(shapes):
        if left[1] != right[0]:
            raise ValueError(
                f"shapes do not chain: {left} then {right}; W_l has shape (n_(l-1), n_l), "
                "so transpose torch's Linear weights"
            )


def _draw(
    law: WeightLaw, rows: int, columns: int, std: float, generator: torch.Generator
) -> Tensor:
    shape = (rows, columns)
    if law == "uniform":
        unit = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (unit - 0.5) * (std * math.sqrt(12.0))
    if law == "rademacher":
        return (torch.randint(0, 2, shape, generator=generator).double() * 2 - 1) * std
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if law == "gaussian":
        return normal * std
    tall = normal if rows >= columns else normal.T
    q, r = torch.linalg.qr(tall)
    q = q * torch.sign(torch.diagonal(r))  # Haar measure (Mezzadri 2007)
    haar = q if rows >= columns else q.T
    return (haar * (std * math.sqrt(max(shape)))).contiguous()
