"""The wide limit's constants, and the assembly of a kernel from its layers.

In the units of the finite network (gradients with respect to W_l itself, weights N(0, β_l²)):
A_0 = XXᵀ, C^l = β_l² A_{l−1} + σ_b² the covariance of the pre-activations, A_l = n_l E^l with
E^l = E[φφ] under C^l, and Θ_1 = A_0 + b, Θ_{l+1} = Θ_l ∘ n_l β_{l+1}² Ė^l + A_l + b, where b is 1
for a network with biases and 0 for one without; the kernel is Θ_L. In the "ntk" parameterization
every n_l is 1 and A_0 = XXᵀ/d. Nguyen et al. 2021, eq. 9-17; Banerjee et al. 2023, §4.

A residual network (f_l = f_{l−1} + α φ(g_l)) has A_l = A_{l−1} + α² n E^l + α(M_{l−1} μᵀ + μ M_{l−1}ᵀ)
with μ_i = E φ(√C_ii z) and M_l = M_{l−1} + α n μ the sum of the features' coordinates, and
Θ_{l+1} = A_l + b + β_{l+1}² Φ_l, Φ_l = Φ_{l−1} + α² n Ė^l ∘ Θ_l.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ntkscope._base.specs import unknown
from ntkscope.networks.network import Network

Tensor = Any  # or a NumPy array: nothing here asks which
GETS = ("ntk", "nngp", "terms", "G", "G_dot")


@dataclass(frozen=True)
class Scales:
    """What turns expectations into the kernel of one network.

    input: the factor of XXᵀ in A_0. sizes: n_1, …, n_{L−1} as they multiply (1 for "ntk", 2 for a
    normalised "standard" limit). betas_sq: β_1², …, β_L². bias_var: σ_b². biases: whether biases
    are trained. residual: α. paired: Bombari's doubled last hidden layer. outputs: how many
    outputs' kernels are summed.
    """

    input: float
    sizes: tuple[float, ...]
    betas_sq: tuple[float, ...]
    bias_var: float
    biases: bool
    residual: float
    paired: bool
    outputs: int

    @property
    def depth(self) -> int:
        return len(self.betas_sq)

    @property
    def homogeneous(self) -> bool:
        """Whether every layer only rescales: no biases and no skip connections."""
        return not self.biases and not self.residual


def scales_of(net: Network, outputs: int) -> Scales:
    """The constants of ``net``. Raises ValueError where no wide limit is defined."""
    if net.weights in ("uniform", "rademacher"):
        raise ValueError(
            f"the wide limit needs Gaussian pre-activations in the first layer, which {net.weights}"
            " weights do not give at a finite number of inputs; use weights='gaussian'"
        )
    ntk = net.parameterization == "ntk"
    hidden = net.widths[1:-1]
    if ntk:
        sizes = tuple(1.0 for _ in hidden)
    elif net.finite:
        sizes = tuple(float(n) for n in hidden)
    else:
        _ = net.ntk_normalization  # raises where there is no common limit
        sizes = tuple(2.0 for _ in hidden)
    return Scales(
        input=1.0 / net.dim if ntk else 1.0,
        sizes=sizes,
        betas_sq=tuple(b * b for b in net.betas),
        bias_var=(net.bias_std or 0.0) ** 2,
        biases=net.bias_std is not None,
        residual=net.residual,
        paired=net.paired,
        outputs=outputs,
    )


def check_get(get: Any) -> tuple[str, ...]:
    """``get`` as a tuple of known names. Raises ValueError naming the one that is unknown."""
    names = (get,) if isinstance(get, str) else tuple(get)
    if not names:
        raise ValueError(f"get names nothing; known: {', '.join(GETS)}")
    for name in names:
        if name not in GETS:
            raise ValueError(unknown("get", name, GETS))
    return names


@dataclass(frozen=True)
class Layer:
    """A_l and, behind the first, Ė^l, for some set of pairs: tensors or arrays of one shape."""

    features: Tensor
    slope: Tensor | None


def assemble(
    scales: Scales, layers: Iterable[Layer], get: tuple[str, ...]
) -> dict[str, list[Tensor]]:
    """The tensors that ``get`` names; "ntk" and "nngp" as lists of one.

    "terms" are the L summands of Nguyen et al. 2021, eq. 17: term l holds the gradients with
    respect to layer l's weights and biases. "G" are C^1, …, C^L, "G_dot" the factors
    n_l β_{l+1}² Ė^l, l = 1, …, L−1, of the recursion.
    """
    bias = 1.0 if scales.biases else 0.0
    theta: list[Tensor] = []  # the terms of Θ_l, or their sum
    phi: list[Tensor] = []  # the same of Φ_l
    covariances: list[Tensor] = []
    slopes: list[Tensor] = []
    apart = "terms" in get
    want_theta = apart or "ntk" in get
    last: Tensor | None = None
    for index, layer in enumerate(layers):
        own = layer.features + bias if bias else layer.features
        if layer.slope is not None:
            n = scales.sizes[index - 1]
            if "G_dot" in get:
                slopes.append(layer.slope * (n * scales.betas_sq[index]))
            if want_theta:
                theta, phi = _through(scales, index, n, layer.slope, theta, phi)
        if "G" in get:
            covariances.append(own_covariance(scales, index, layer.features))
        if want_theta:
            if apart or not theta:
                theta = [*theta, own + 0.0 if own is layer.features else own]
            else:
                theta[0] += own
        previous, last = own, layer.features
        if scales.paired and index == scales.depth - 2 and want_theta:
            # the two halves' signals cancel behind the doubled layer (Bombari et al. 2022, eq. 18)
            dead = [0.0 * t for t in theta[:-1]] if apart else []
            theta = [*dead, previous + 0.0]
    assert last is not None
    out: dict[str, list[Tensor]] = {}
    for name in get:
        if name == "ntk":
            total = theta[0] if len(theta) == 1 else sum_of(theta)
            out[name] = [total * scales.outputs if scales.outputs != 1 else total]
        elif name == "terms":
            out[name] = [t * scales.outputs if scales.outputs != 1 else t for t in theta]
        elif name == "nngp":
            out[name] = [own_covariance(scales, scales.depth - 1, last)]
        else:
            out[name] = covariances if name == "G" else slopes
    return out


def own_covariance(scales: Scales, index: int, features: Tensor) -> Tensor:
    """C^{index+1} = β² A_index + σ_b²."""
    return features * scales.betas_sq[index] + scales.bias_var


def _through(
    scales: Scales, index: int, n: float, slope: Tensor, theta: list[Tensor], phi: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Θ_l taken through layer l: β_{l+1}² Φ_l, and Φ_l."""
    beta_sq = scales.betas_sq[index]
    if not scales.residual:
        for t in theta:
            t *= slope
            t *= n * beta_sq
        return theta, phi
    weight = scales.residual**2 * n
    grown = [t * slope * weight for t in theta]
    grown = [g + p for g, p in zip(grown, phi, strict=False)] + grown[len(phi) :]
    return [g * beta_sq for g in grown], grown


def sum_of(tensors: list[Tensor]) -> Tensor:
    total = tensors[0] + 0.0
    for t in tensors[1:]:
        total += t
    return total


def effective_width(net: Network) -> float:
    """n of the residual recursions: the width in "standard", 1 in "ntk"."""
    return 1.0 if net.parameterization == "ntk" else float(net.widths[1])
