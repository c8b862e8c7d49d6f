"""The map x ↦ g_k(x) as plain matrices: what every bound on its Lipschitz constant starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.activations.activation import Activation
from ntkscope.networks.mlp import MLP


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """f_start ↦ g_layer of a network: V_l = scale·W_l of shape (n_{l-1}, n_l), biases, activation.

    residual: α of f_l = f_{l-1} + αφ(g_l), 0 for a plain network.
    """

    matrices: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: Activation
    residual: float

    @property
    def dim(self) -> int:
        return int(self.matrices[0].shape[0])

    @property
    def hidden(self) -> int:
        """How many activations lie between the input and the output."""
        return len(self.matrices) - 1

    @property
    def piecewise_linear(self) -> bool:
        """Whether φ is homogeneous, so that the map is linear on the cells of its kinks."""
        return self.activation.homogeneity == 1

    @property
    def smooth(self) -> bool:
        return self.activation.smooth

    def bias(self, index: int) -> Tensor | float:
        return self.biases[index] if self.biases else 0.0

    def preactivations(self, z: Float[Tensor, "S d"]) -> list[Tensor]:
        """[g_{start+1}, …, g_{layer-1}] at ``z``: where the slopes are taken."""
        f, found = z, []
        for index in range(self.hidden):
            g = f @ self.matrices[index] + self.bias(index)
            found.append(g)
            f = self.residual * self.activation(g) + f if self.residual else self.activation(g)
        return found

    def jacobian(self, z: Float[Tensor, d]) -> Float[Tensor, "n d"]:
        """J(g_layer)(z), of shape (n_layer, d), by the chain rule (Nguyen et al. 2021, eq. 35)."""
        slopes = [self.activation.derivative(g)[0] for g in self.preactivations(z[None])]
        identity = torch.eye(self.dim, dtype=z.dtype, device=z.device)
        return self.push(identity, slopes).T

    def push(self, v: Tensor, slopes: list[Tensor]) -> Tensor:
        """Rows of ``v`` through the linearised map: v ↦ (J v), slopes as (n_l,) or (S, n_l)."""
        for index, matrix in enumerate(self.matrices):
            g = v @ matrix
            if index == self.hidden:
                return g
            step = slopes[index] * g
            v = v + self.residual * step if self.residual else step
        raise AssertionError("a map has at least one matrix")


def feature_map(model: MLP, layer: int | None = None, start: int = 0) -> FeatureMap:
    """The map f_start ↦ g_layer of ``model``; ``layer=None`` is the output g_L.

    Raises ValueError unless 0 ≤ start < layer ≤ L.
    """
    network = model.network
    layer = network.depth if layer is None else layer
    if not 0 <= start < layer <= network.depth:
        raise ValueError(
            f"expected 0 ≤ start < layer ≤ L = {network.depth}, got start={start}, layer={layer}"
        )
    weights = [cast("Tensor", w).detach() for w in model.weights]
    biases = [cast("Tensor", b).detach() for b in model.biases]
    span = range(start, layer)
    return FeatureMap(
        matrices=tuple(weights[i] * network.scales[i] for i in span),
        biases=tuple(biases[i] for i in span) if biases else (),
        activation=network.activation,
        residual=network.residual,
    )


def slope_range(activation: Activation) -> tuple[float, float] | None:
    """(inf φ′, sup φ′), or None where it is unbounded or not known.

    Where only M = sup |φ′| is known, this is (−M, M).
    """
    return activation.slope_range
