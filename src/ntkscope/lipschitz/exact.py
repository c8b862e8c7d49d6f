"""The Lipschitz constant of a piecewise linear map, exactly up to rounding, by visiting its cells.

‖g_k‖_Lip is the largest ‖J(g_k)(z)‖ over the points where no pre-activation sits at a kink
(Nguyen et al. 2021, Lemma 6.1), and J is constant on each cell.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope.lipschitz.maps import FeatureMap

_MOST_CELLS = 1 << 16
_CHUNK = 2048


@dataclass(frozen=True)
class Exact:
    """The constant, how many linear pieces were visited, and how."""

    value: float
    pieces: int
    method: str


def exact_constant(feature_map: FeatureMap) -> Exact | None:
    """The constant where its cells can be enumerated, None elsewhere.

    A map without activations or with the identity; d = 2 without biases (arcs of the circle); one
    hidden layer whose arrangement of kinks has at most 65536 candidate cells, in general position.
    """
    if feature_map.hidden == 0 or feature_map.activation.linear:
        return Exact(_linear(feature_map), 1, "the map is linear")
    if not feature_map.piecewise_linear:
        return None
    if feature_map.dim == 2 and not feature_map.biases:
        return _arcs(feature_map)
    if feature_map.hidden == 1 and not feature_map.residual:
        return _cells(feature_map)
    return None


def _linear(feature_map: FeatureMap) -> float:
    first = feature_map.matrices[0]
    z = torch.zeros(feature_map.dim, dtype=first.dtype, device=first.device)
    return float(torch.linalg.matrix_norm(feature_map.jacobian(z).double(), 2))


def _arcs(feature_map: FeatureMap) -> Exact:
    """d = 2, no biases: the map is positively homogeneous, so its cells are sectors of the plane.

    Layer by layer each sector is cut at the zeros of the new pre-activations. A sector narrower
    than rounding (about 1e-15 radians) can be missed.
    """
    third = 2 * math.pi / 3
    cuts = torch.tensor([0.0, third, 2 * third, 3 * third], dtype=torch.float64)
    matrices = [m.double().cpu() for m in feature_map.matrices]
    features = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)  # (arcs, n, 2)
    for matrix in matrices[:-1]:
        need = 6.0 * 16 * len(features) * matrix.shape[1]
        memory.require(need, "walking the arcs of the circle", "use fewer neurons")
        g = torch.einsum("ami,mn->ani", features, matrix)
        new = _cut(cuts, g)
        middle = (new[1:] + new[:-1]) / 2
        parent = (torch.searchsorted(cuts, middle, right=True) - 1).clamp(0, len(cuts) - 2)
        direction = torch.stack([torch.cos(middle), torch.sin(middle)], dim=1)
        g = g[parent]
        slope = feature_map.activation.derivative(torch.einsum("ani,ai->an", g, direction))
        step = slope[:, :, None] * g
        alpha = feature_map.residual
        features = features[parent] + alpha * step if alpha else step
        cuts = new
    largest = 0.0
    for chunk in features.split(_CHUNK):
        g = torch.einsum("ami,mn->ani", chunk, matrices[-1])
        gram = g.transpose(1, 2) @ g
        largest = max(largest, float(torch.linalg.eigvalsh(gram)[:, -1].max()))
    return Exact(math.sqrt(largest), len(features), "walked the arcs of the circle")


def _cut(cuts: Tensor, g: Tensor) -> Tensor:
    """``cuts`` and, inside each arc, the angle at which each linear neuron g (arcs, n, 2) is 0."""
    low, high = cuts[:-1, None], cuts[1:, None]
    zero = torch.atan2(-g[:, :, 0], g[:, :, 1])
    zero = low + torch.remainder(zero - low, math.pi)
    inside = (zero > low) & (zero < high) & (g != 0).any(dim=2)
    return torch.unique(torch.cat([cuts, zero[inside]]))


def _cells(feature_map: FeatureMap) -> Exact | None:
    """One hidden layer: all cells of the arrangement of hyperplanes {z: g_1j(z) = 0}.

    Every cell of an essential arrangement has a vertex (biases) or an extreme ray (none), where
    d or d − 1 of the hyperplanes meet; around it each choice of their signs is one cell, the
    other signs being fixed. In general position these are all the cells and nothing but cells.
    """
    first, second = (m.double().cpu() for m in feature_map.matrices)
    left, values, right = torch.linalg.svd(first, full_matrices=False)
    rank = int((values > values[0] * max(first.shape) * torch.finfo(torch.float64).eps).sum())
    normals = (values[:rank, None] * right[:rank]).T  # (n, rank): coordinates in the row space
    affine = bool(feature_map.biases)
    meet = rank if affine else rank - 1
    n = len(normals)
    if math.comb(n, meet) * 2**meet * (1 if affine else 2) > _MOST_CELLS:
        return None
    offsets = feature_map.biases[0].double().cpu() if affine else torch.zeros(n).double()
    patterns = _patterns(normals, offsets, meet, affine)
    if patterns is None:
        return None
    ends = feature_map.activation.derivative(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    basis = (values[:rank, None] * right[:rank]).T @ left[:, :rank].T  # (n, d), = V_1ᵀ
    largest = 0.0
    for chunk in patterns.split(_CHUNK):
        slopes = torch.where(chunk, ends[1], ends[0])
        jacobians = torch.einsum("nm,cn,nd->cmd", second, slopes, basis)
        largest = max(largest, float(torch.linalg.matrix_norm(jacobians, 2).max()))
    return Exact(largest, len(patterns), "enumerated the cells of one hidden layer")


def _patterns(normals: Tensor, offsets: Tensor, meet: int, affine: bool) -> Tensor | None:
    """Distinct activation patterns (cells, n); None if the arrangement is not in general position."""
    n = len(normals)
    signs = torch.tensor(list(itertools.product([False, True], repeat=meet)), dtype=torch.bool)
    scale = torch.linalg.vector_norm(normals, dim=1)
    if bool((scale == 0).any()):
        return None
    found = []
    for chosen in itertools.combinations(range(n), meet):
        index = torch.tensor(chosen, dtype=torch.long)
        points = _meeting_points(normals[index], offsets[index], affine)
        if points is None:
            return None
        for point in points:
            value = normals @ point + offsets
            others = torch.ones(n, dtype=torch.bool)
            others[index] = False
            size = scale * torch.linalg.vector_norm(point) + offsets.abs()
            if bool((value.abs() <= 1e-10 * size)[others].any()):
                return None
            pattern = (value > 0).expand(len(signs), n).clone()
            pattern[:, index] = signs
            found.append(pattern)
    return torch.unique(torch.cat(found), dim=0)


def _meeting_points(normals: Tensor, offsets: Tensor, affine: bool) -> list[Tensor] | None:
    """The vertex of as many hyperplanes as dimensions, or the ray of one fewer, both ways."""
    if affine:
        if float(torch.linalg.cond(normals)) > 1e10:
            return None
        return [torch.linalg.solve(normals, -offsets)]
    dim = normals.shape[1]
    if len(normals) == 0:
        return [torch.ones(1).double(), -torch.ones(1).double()]
    _, values, right = torch.linalg.svd(normals, full_matrices=True)
    if float(values[-1]) <= 1e-10 * float(values[0]):
        return None
    ray = right[dim - 1]
    return [ray, -ray]
