"""Activation functions: φ, φ′, φ″ and what the theory needs to know of them.

Every constant here is a fact about the function: the Lipschitz constant M of φ and M′ of φ′
(Bombari et al. 2022, Assumption 2.3; Banerjee et al. 2023, Assumption 1), φ(0), the kinks and the
degree of positive homogeneity. At a kink the derivative is 0 for ReLU, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options, unknown

Elementwise = Callable[[Tensor], Tensor]

_SQRT2 = math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Activation:
    """An element-wise φ with its derivatives and constants.

    Attributes
    ----------
    name: the canonical spelling, e.g. ``"leaky_relu:alpha=0.1"``; two activations with one name
        are equal.
    phi, derivative, second: φ, φ′, φ″ on tensors of any shape.
    lipschitz: M = sup |φ′| (``inf`` if unbounded, ``None`` if not known).
    lipschitz_derivative: M′ = sup |φ″|, ``inf`` where φ has a kink, ``None`` if not known.
    kinks: points where φ′ jumps; quadrature must split there.
    homogeneity: 1 if φ(cz) = cφ(z) for every c > 0, else ``None``.
    """

    name: str
    phi: Elementwise
    derivative: Elementwise
    second: Elementwise
    lipschitz: float | None
    lipschitz_derivative: float | None
    kinks: tuple[float, ...] = ()
    homogeneity: int | None = None
    custom: bool = False

    def __call__(self, z: Tensor) -> Tensor:
        return self.phi(z)

    @property
    def at_zero(self) -> float:
        """φ(0)."""
        return float(self.phi(torch.zeros((), dtype=torch.float64)))

    @property
    def smooth(self) -> bool:
        """No kinks, so that φ′ is continuous."""
        return not self.kinks

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        if self.custom or other.custom:
            return self.name == other.name and self.phi is other.phi
        return self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


def relu() -> Activation:
    """max(z, 0), with φ′(0) = 0."""
    return Activation("relu", torch.relu, _step, torch.zeros_like, 1.0, math.inf, (0.0,), 1)


def leaky_relu(alpha: float = 0.01) -> Activation:
    """z for z > 0, αz otherwise; φ′(0) = α, the slope that autograd takes."""
    if alpha == 1.0:
        raise ValueError("leaky_relu with alpha=1 is linear; use 'identity'")
    _finite("leaky_relu", "alpha", alpha)

    def derivative(z: Tensor) -> Tensor:
        return _step(z) * (1.0 - alpha) + alpha

    return Activation(
        f"leaky_relu:alpha={float(alpha)!r}",
        lambda z: torch.nn.functional.leaky_relu(z, alpha),
        derivative,
        torch.zeros_like,
        max(1.0, abs(alpha)),
        math.inf,
        (0.0,),
        1,
    )


def absolute() -> Activation:
    """|z|, with φ′(0) = 0."""
    return Activation("abs", torch.abs, torch.sign, torch.zeros_like, 1.0, math.inf, (0.0,), 1)


def identity() -> Activation:
    """z: a linear network, whose kernel is known in closed form."""
    return Activation("identity", lambda z: z, torch.ones_like, torch.zeros_like, 1.0, 0.0, (), 1)


def sigmoid() -> Activation:
    """1/(1 + e^{-z})."""

    def derivative(z: Tensor) -> Tensor:
        return torch.sigmoid(z) * torch.sigmoid(-z)

    def second(z: Tensor) -> Tensor:
        return -derivative(z) * torch.tanh(0.5 * z)

    return Activation(
        "sigmoid",
        torch.sigmoid,
        derivative,
        second,
        0.25,
        1.0 / (6.0 * math.sqrt(3.0)),
    )


def tanh() -> Activation:
    """tanh z."""

    def derivative(z: Tensor) -> Tensor:
        # 1 − tanh² loses every digit in the tails; 1/cosh² = 4σ(2z)σ(−2z) keeps them
        return 4.0 * torch.sigmoid(2.0 * z) * torch.sigmoid(-2.0 * z)

    def second(z: Tensor) -> Tensor:
        return -2.0 * torch.tanh(z) * derivative(z)

    return Activation("tanh", torch.tanh, derivative, second, 1.0, 4.0 / (3.0 * math.sqrt(3.0)))


def erf() -> Activation:
    """erf z = 2/√π ∫₀ᶻ e^{-t²} dt."""
    slope = 2.0 / math.sqrt(math.pi)

    def derivative(z: Tensor) -> Tensor:
        return slope * torch.exp(-z * z)

    return Activation(
        "erf",
        torch.erf,
        derivative,
        lambda z: -2.0 * z * derivative(z),
        slope,
        slope * math.sqrt(2.0 / math.e),
    )


def _density(z: Tensor) -> Tensor:
    return _INV_SQRT_2PI * torch.exp(-0.5 * z * z)


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / _SQRT2)


def gelu() -> Activation:
    """zΦ(z) with the exact normal distribution function Φ, not the tanh approximation."""
    # sup φ′ is at z = √2 (φ″ = (2 − z²)·density); sup |φ″| = φ″(0) = 2/√(2π)
    m = 0.5 * math.erfc(-1.0) + _SQRT2 * _INV_SQRT_2PI * math.exp(-1.0)
    return Activation(
        "gelu",
        lambda z: z * _normal_cdf(z),
        lambda z: _normal_cdf(z) + z * _density(z),
        lambda z: (2.0 - z * z) * _density(z),
        m,
        2.0 * _INV_SQRT_2PI,
    )


def silu() -> Activation:
    """zσ(z), also called swish."""

    def derivative(z: Tensor) -> Tensor:
        return torch.sigmoid(z) * (1.0 + z * torch.sigmoid(-z))

    def second(z: Tensor) -> Tensor:
        return torch.sigmoid(z) * torch.sigmoid(-z) * (2.0 - z * torch.tanh(0.5 * z))

    # sup φ′ where z·tanh(z/2) = 2, that is z = 2.39935728…
    z = 2.3993572805154176
    s = 1.0 / (1.0 + math.exp(-z))
    return Activation(
        "silu", torch.nn.functional.silu, derivative, second, s * (1.0 + z * (1.0 - s)), 0.5
    )


def softplus(beta: float = 1.0) -> Activation:
    """log(1 + e^{βz})/β, a smoothed ReLU."""
    _finite("softplus", "beta", beta)
    if beta <= 0:
        raise ValueError(f"softplus needs beta > 0, got {beta}")

    def phi(z: Tensor) -> Tensor:
        # torch's softplus turns linear beyond a threshold; this form is exact everywhere, and so
        # is its gradient by autograd
        return torch.logaddexp(beta * z, torch.zeros_like(z)) / beta

    def second(z: Tensor) -> Tensor:
        return beta * torch.sigmoid(beta * z) * torch.sigmoid(-beta * z)

    return Activation(
        f"softplus:beta={float(beta)!r}",
        phi,
        lambda z: torch.sigmoid(beta * z),
        second,
        1.0,
        beta / 4.0,
    )


def sin() -> Activation:
    """sin z."""
    return Activation("sin", torch.sin, torch.cos, lambda z: -torch.sin(z), 1.0, 1.0)


_REGISTRY: dict[str, Callable[..., Activation]] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "abs": absolute,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "erf": erf,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "sin": sin,
    "identity": identity,
}
_OPTIONS: dict[str, tuple[str, ...]] = {"leaky_relu": ("alpha",), "softplus": ("beta",)}

NAMES: tuple[str, ...] = tuple(_REGISTRY)


def activation(spec: str | Activation | Elementwise) -> Activation:
    """The activation of a name (``"relu"``, ``"leaky_relu:alpha=0.2"``) or of a callable.

    A callable maps a tensor to a tensor of the same shape; its derivatives come from autograd and
    its constants are unknown (use :func:`custom` to state them).

    Raises ValueError for an unknown name or option, TypeError for anything else.
    """
    if isinstance(spec, Activation):
        return spec
    if callable(spec):
        return custom(spec)
    if not isinstance(spec, str):
        raise TypeError(
            f"activation must be a name, an Activation or a callable, got {type(spec).__name__}"
        )
    return _from_spec(parse_spec(spec))


def _from_spec(spec: Spec) -> Activation:
    if spec.name not in _REGISTRY:
        raise ValueError(unknown("activation", spec.name, _REGISTRY))
    reject_unknown_options("activation", spec, _OPTIONS.get(spec.name, ()))
    if spec.positional:
        raise ValueError(
            f"activation options are written name:key=value, got {', '.join(spec.positional)!r}"
        )
    numbers = {}
    for key, value in spec.options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"activation {spec.name!r}: {key} must be a number, got {value!r}")
        numbers[key] = float(value)
    return _REGISTRY[spec.name](**numbers)


def custom(
    phi: Elementwise,
    *,
    name: str | None = None,
    derivative: Elementwise | None = None,
    second: Elementwise | None = None,
    lipschitz: float | None = None,
    lipschitz_derivative: float | None = None,
    kinks: tuple[float, ...] = (),
    homogeneity: int | None = None,
) -> Activation:
    """An activation of your own. What is not given is differentiated by autograd.

    Raises ValueError if φ or a given derivative changes the shape, or is not finite on [-3, 3].
    """
    first = derivative if derivative is not None else _autograd(phi)
    curvature = second if second is not None else _autograd(first)
    label = name if name is not None else getattr(phi, "__name__", type(phi).__name__)
    made = Activation(
        label, phi, first, curvature, lipschitz,
        math.inf if kinks and lipschitz_derivative is None else lipschitz_derivative,
        tuple(kinks), homogeneity, custom=True,
    )  # fmt: skip
    probe = torch.linspace(-3.0, 3.0, 7, dtype=torch.float64)
    for what, function in (("φ", made.phi), ("φ′", made.derivative)):
        out = function(probe)
        if not isinstance(out, Tensor) or out.shape != probe.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"activation {label!r}: {what} must map a tensor to one of the same shape, "
                f"got {got} for {tuple(probe.shape)}"
            )
        if not bool(torch.isfinite(out).all()):
            raise ValueError(f"activation {label!r}: {what} is not finite on [-3, 3]")
    return made


def _autograd(function: Elementwise) -> Elementwise:
    def derivative(z: Tensor) -> Tensor:
        with torch.enable_grad():
            # inside an outer graph z is differentiated through, so that φ″ = (φ′)′ works
            live = z if z.requires_grad else z.detach().requires_grad_()
            out = function(live)
            if not isinstance(out, Tensor) or not out.requires_grad:
                return torch.zeros_like(z)  # φ is constant
            (slope,) = torch.autograd.grad(
                out.sum(), live, create_graph=z.requires_grad, allow_unused=True
            )
        return torch.zeros_like(z) if slope is None else slope

    return derivative


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _finite(name: str, key: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"activation {name!r}: {key} must be finite, got {value}")
