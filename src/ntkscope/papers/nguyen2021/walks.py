"""Nguyen et al. 2021, §6 and App. F: segments between samples, walked piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.lipschitz import FeatureMap
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U
from ntkscope.statements.shared import segments

_PAIRS = 3  # segments walked


def piecewise(i: Instance) -> None:
    """Stop unless φ is piecewise linear with its kink at 0."""
    if i.network.activation.homogeneity != 1:
        raise NotComputable(f"{i.network.activation} networks are not piecewise linear")


def pairs(i: Instance) -> list[tuple[int, int]]:
    """The samples whose segments are walked."""
    order = torch.randperm(i.N, generator=i.generator("segments")).tolist()
    return [(order[2 * j], order[2 * j + 1]) for j in range(min(_PAIRS, i.N // 2))]


def pass_error(mapping: FeatureMap, scale: float) -> float:
    """Rounding of a pass through the map, relative to the product of its norms."""
    length = sum(m.shape[0] for m in mapping.matrices) + 8 * len(mapping.matrices)
    return 4 * length * U * scale


def gain(i: Instance, k: int) -> float:
    """A bound on how much g_k stretches, residual connections and small slopes counted generously."""
    product = math.prod(float(i.op_norm(l)) for l in range(1, k + 1))
    slope = max(1.0, i.network.activation.lipschitz or 1.0) ** k
    return product * (slope * (1 + abs(i.network.residual)) ** k)


@dataclass(frozen=True)
class Walk:
    """A map along a segment from x to y.

    middle (m, n): the midpoints of its pieces. speed (m,): ‖J(z)u‖ there, u the direction.
    quotient: ‖g(x) − g(y)‖/‖x − y‖.
    """

    middle: Tensor
    speed: Tensor
    quotient: Quantity


def walk(mapping: FeatureMap, x: Tensor, y: Tensor, bar: float) -> Walk | None:
    """The walk from x to y, ``bar`` the rounding of a Jacobian; None where x = y."""
    distance = float((y - x).norm())
    if distance == 0:
        return None
    cuts = segments.breakpoints(mapping, x, y)
    middle = segments.points(x, y, 0.5 * (cuts[1:] + cuts[:-1]))
    speed = segments.directional(mapping, middle, (y - x) / distance).norm(dim=1)
    difference = segments.value(mapping, torch.stack([x, y])).diff(dim=0).norm()
    reach = float(torch.maximum(x.norm(), y.norm())) / distance
    return Walk(middle, speed, Quantity(float(difference) / distance, bar * (1 + 2 * reach)))
