"""The Lipschitz constant of a piecewise linear map, enclosed by visiting every linear piece.

‖g_k‖_Lip is the largest ‖J(g_k)(z)‖ over the points where no pre-activation sits at a kink
(Nguyen et al. 2021, Lemma 6.1), and J is constant on each cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ntkscope.lipschitz.arrangement import cells_of_one_layer
from ntkscope.lipschitz.maps import FeatureMap
from ntkscope.lipschitz.rounding import Enclosed, underflows
from ntkscope.lipschitz.sectors import sectors_of_the_plane


@dataclass(frozen=True)
class Exact:
    """An enclosure of the constant, how many linear pieces were visited, and how."""

    lower: float
    upper: float
    pieces: int
    method: str


def exact_constant(feature_map: FeatureMap) -> Exact | None:
    """The constant where its cells can be enumerated, None elsewhere.

    A map without activations or with the identity; d = 2 without biases (sectors of the plane);
    one hidden layer whose arrangement of kinks has at most 65536 candidate cells and is in general
    position. Which cells there are is decided in exact arithmetic wherever floating point leaves
    it open; the ends contain the rounding of the Jacobians and of their norms.
    """
    if underflows(feature_map):
        return None
    if feature_map.hidden == 0 or feature_map.activation.linear:
        return Exact(*_linear(feature_map), 1, "the map is linear")
    if not feature_map.piecewise_linear:
        return None
    if feature_map.dim == 2 and not feature_map.biases:
        jacobians = sectors_of_the_plane(feature_map)
        return Exact(*jacobians.norm(), len(jacobians.value), "walked the sectors of the plane")
    if feature_map.hidden == 1 and not feature_map.residual:
        found = cells_of_one_layer(feature_map)
        if found is not None:
            return Exact(*found, "enumerated the cells of one hidden layer")
    return None


def _linear(feature_map: FeatureMap) -> tuple[float, float]:
    features = Enclosed.exact(torch.eye(feature_map.dim, dtype=torch.float64))
    alpha = torch.tensor(feature_map.residual, dtype=torch.float64)
    matrices = [m.double().cpu() for m in feature_map.matrices]
    for matrix in matrices[:-1]:
        step = features.times(matrix)
        features = features.plus(step.scaled(alpha)) if feature_map.residual else step
    last = features.times(matrices[-1])
    return Enclosed(last.value[None], last.error[None]).norm()
