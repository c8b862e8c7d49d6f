"""d = 2 without biases: the map is positively homogeneous, so its cells are sectors of the plane.

Layer by layer each sector is cut at the zeros of the new pre-activations, which are linear there. A
neuron has a zero inside exactly when its signs on the two boundary rays differ. A sign is taken from
floating point where it exceeds its error bound, and otherwise from whole numbers: where one neuron
alone is active, the next layer's neurons vanish on the very ray where that neuron does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.lipschitz.maps import FeatureMap
from ntkscope.lipschitz.rounding import Enclosed, gamma, slopes_beside_zero
from ntkscope.lipschitz.whole_numbers import Vector, WholeNumbers, determinant, sign

_AXIS = -1  # the layer of a ray that is an axis
_AXES: tuple[Vector, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))


@dataclass(frozen=True, eq=False)
class _Rays:
    """The boundaries, counter-clockwise; sector s lies between ray s and ray s + 1.

    direction: (S, 2). A ray is the zero of neuron ``neuron`` of layer ``layer``, turned by ``turn``
    quarters from its linear form; for an axis, layer is −1 and neuron its number.
    """

    direction: Enclosed
    layer: Tensor
    neuron: Tensor
    turn: Tensor

    def __len__(self) -> int:
        return len(self.layer)


class _Walk:
    """The sectors so far: their rays, activation patterns and features."""

    def __init__(self, feature_map: FeatureMap) -> None:
        self.matrices = [m.double().cpu() for m in feature_map.matrices]
        self.slopes = slopes_beside_zero(feature_map)
        self.residual = feature_map.residual
        axes = torch.tensor(_AXES, dtype=torch.float64)
        four, one = torch.arange(4), torch.zeros(4, dtype=torch.long)
        self.rays = _Rays(Enclosed.exact(axes), one + _AXIS, four, one)
        self.features = Enclosed.exact(torch.eye(2, dtype=torch.float64).expand(4, 2, 2))
        self.patterns: list[Tensor] = []  # (S, n_l) for each layer so far: whether g > 0
        self.whole = WholeNumbers(self.matrices, self.slopes.tolist(), self.residual)

    def jacobians(self) -> Enclosed:
        """(S, 2, n): J(g_k) transposed, of every sector."""
        for matrix in self.matrices[:-1]:
            self._cut(matrix)
        return self.features.times(self.matrices[-1])

    def _cut(self, matrix: Tensor) -> None:
        need = 8.0 * 24 * len(self.rays) * matrix.shape[1]
        memory.require(need, "walking the sectors of the plane", "use fewer neurons")
        g = self.features.times(matrix)  # (S, 2, n)
        first, last = self._signs(g, 0), self._signs(g, 1)
        crossing = first * last < 0
        parent, before, rays = self._children(g, first, crossing)
        # a neuron that does not cross keeps the sign that it has on either ray
        steady = torch.where(first != 0, first, last)[parent]
        positive = torch.where(before, last[parent], steady) > 0
        self.rays = rays
        self.patterns = [p[parent] for p in self.patterns] + [positive]
        step = g.select(parent).scaled(self.slopes[positive.long()][:, None, :])
        if self.residual:
            alpha = torch.tensor(self.residual, dtype=torch.float64)
            step = self.features.select(parent).plus(step.scaled(alpha))
        self.features = step

    def _signs(self, g: Enclosed, side: int) -> Tensor:
        """Exact signs (S, n) of the neurons on the ray that begins (0) or ends (1) their sector."""
        ray = self.rays.direction.select((torch.arange(len(self.rays)) + side) % len(self.rays))
        x, e = ray.value[:, :, None], ray.error[:, :, None]
        value = (g.value * x).sum(1)
        sizes = (g.value.abs() * x.abs()).sum(1)
        error = (g.error * (x.abs() + e) + g.value.abs() * e).sum(1) + gamma(3) * sizes
        signs = torch.sign(value).long()
        open_ = (value.abs() <= error * (1 + gamma(16))) & (error > 0)
        for sector, neuron in open_.nonzero().tolist():
            form = self._form(sector, len(self.patterns), neuron)
            along = self._ray((sector + side) % len(self.rays), sector)
            signs[sector, neuron] = sign(form[0] * along[0] + form[1] * along[1])
        return signs

    def _form(self, sector: int, layer: int, neuron: int) -> Vector:
        """The linear form of a neuron in a sector, in whole numbers up to a positive factor."""
        return self.whole.form([p[sector] for p in self.patterns[:layer]], neuron)

    def _ray(self, index: int, sector: int) -> Vector:
        """The direction of a ray in whole numbers; ``sector`` is one that it bounds."""
        layer, neuron = int(self.rays.layer[index]), int(self.rays.neuron[index])
        if layer == _AXIS:
            return _AXES[neuron]
        return turned(self._form(sector, layer, neuron), int(self.rays.turn[index]))

    def _children(
        self, g: Enclosed, first: Tensor, crossing: Tensor
    ) -> tuple[Tensor, Tensor, _Rays]:
        """(parent of each new sector, which crossing neurons lie behind it, the new rays)."""
        n = crossing.shape[1]
        layer = len(self.patterns)
        parents: list[int] = []
        behind: list[Tensor] = []
        origin: list[tuple[int, int, int]] = []  # (layer, neuron, turn), of the walk's own ray: −2
        values, errors = [], []
        for sector in range(len(self.rays)):
            passed = torch.zeros(n, dtype=torch.bool)
            parents.append(sector)
            behind.append(passed)
            r = self.rays
            origin.append((int(r.layer[sector]), int(r.neuron[sector]), int(r.turn[sector])))
            values.append(r.direction.value[sector])
            errors.append(r.direction.error[sector])
            for group in self._ordered(g, first, sector, crossing[sector].nonzero()[:, 0].tolist()):
                passed = passed.clone()
                passed[group] = True
                lead = group[0]
                turn = 1 if int(first[sector, lead]) > 0 else -1
                form = g.value[sector, :, lead]
                parents.append(sector)
                behind.append(passed)
                origin.append((layer, lead, turn))
                values.append(torch.stack([-form[1], form[0]]) * turn)
                errors.append(g.error[sector, :, lead].flip(0))
        layers, neurons, turns = (torch.tensor(column) for column in zip(*origin, strict=True))
        rays = _Rays(Enclosed(torch.stack(values), torch.stack(errors)), layers, neurons, turns)
        return torch.tensor(parents), torch.stack(behind), rays

    def _ordered(
        self, g: Enclosed, first: Tensor, sector: int, neurons: list[int]
    ) -> list[list[int]]:
        """The neurons with a zero inside a sector, counter-clockwise; equal zeros together."""

        def compare(a: int, b: int) -> int:
            turns = [1 if int(first[sector, j]) > 0 else -1 for j in (a, b)]
            x, y = (g.value[sector, :, j].tolist() for j in (a, b))
            e, f = (g.error[sector, :, j].tolist() for j in (a, b))
            value = x[0] * y[1] - x[1] * y[0]
            error = sum(
                abs(x[i]) * f[1 - i] + abs(y[1 - i]) * e[i] + e[i] * f[1 - i] for i in (0, 1)
            ) + gamma(3) * (abs(x[0] * y[1]) + abs(x[1] * y[0]))
            if abs(value) > error * (1 + gamma(16)):
                ahead = sign(value)
            else:
                forms = [self._form(sector, len(self.patterns), j) for j in (a, b)]
                ahead = sign(determinant(*forms))
            return (
                -ahead * turns[0] * turns[1]
            )  # a comes first where b lies counter-clockwise of it

        groups: list[list[int]] = []
        for neuron in sorted(neurons, key=cmp_to_key(compare)):
            if groups and compare(groups[-1][0], neuron) == 0:
                groups[-1].append(neuron)
            else:
                groups.append([neuron])
        return groups


def turned(form: Vector, turn: int) -> Vector:
    """A quarter turn of a vector, counter-clockwise for turn = 1 and back for −1."""
    return (-form[1] * turn, form[0] * turn)


def sectors_of_the_plane(feature_map: FeatureMap) -> Enclosed:
    """J(g_k)ᵀ of every sector, (S, 2, n), with the error of each entry."""
    return _Walk(feature_map).jacobians()
