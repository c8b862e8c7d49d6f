"""Lower bounds: the largest Jacobian norm that a search over inputs meets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope._base.inputs import as_seed
from ntkscope.lipschitz.at_point import jacobian_norm
from ntkscope.lipschitz.maps import FeatureMap


@dataclass(frozen=True, eq=False)
class Found:
    """A norm ‖J(z)‖, rounded down, and the input z (d,) where it is met."""

    value: float
    z: Tensor


def largest_jacobian(
    feature_map: FeatureMap,
    *,
    starts: int = 64,
    steps: int = 60,
    seed: int | torch.Generator = 0,
    X: Tensor | None = None,
) -> Found:
    """Ascend ‖J(g)(z)‖_op over z from ``starts`` Gaussian points and from the rows of ``X``.

    Smooth φ: gradient ascent of the norm itself. Piecewise linear φ, where the norm is constant
    on each cell: ascent with the step of φ′ smeared out and sharpened again as the search goes,
    then a walk to the inputs that each Jacobian stretches most; only true norms are recorded.
    """
    z = _starts(feature_map, starts, as_seed(seed, "lipschitz search"), X)
    v = z / torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(1e-300)
    v = torch.where(v.isfinite() & (v.abs().sum(1, keepdim=True) > 0), v, torch.ones_like(v))
    best = _best_of(feature_map, z, v, None)
    z = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.1)
    for step in range(steps):
        softness = 0.5 * (1 - step / steps) + 0.02
        slopes = _slopes(feature_map, z, softness)
        v = _power(feature_map, [s.detach() for s in slopes], v, 2)
        optimiser.zero_grad()
        stretch = torch.linalg.vector_norm(feature_map.push(v, slopes), dim=1)
        if not stretch.requires_grad:
            break  # the slopes do not depend on z: nothing to ascend
        torch.autograd.backward(-stretch.log().sum())
        optimiser.step()
        if step % 5 == 4 or step == steps - 1:
            best = _best_of(feature_map, z.detach(), v, best)
    best = _best_of(feature_map, z.detach(), v, best)
    return _walk(feature_map, z.detach(), v, best)


def _starts(
    feature_map: FeatureMap, starts: int, generator: torch.Generator, X: Tensor | None
) -> Tensor:
    first = feature_map.matrices[0]
    z = torch.randn(starts, feature_map.dim, generator=generator, dtype=torch.float64)
    if feature_map.smooth:
        # φ′ of a smooth φ depends on the size of z: 0 first, then every scale up to √d
        z = z * torch.linspace(0.0, 1.0, starts, dtype=torch.float64)[:, None]
    z = z.to(dtype=first.dtype, device=first.device)
    if X is None:
        return z
    return torch.cat([z, X.to(dtype=first.dtype, device=first.device)[:starts]])


def _slopes(feature_map: FeatureMap, z: Tensor, softness: float) -> list[Tensor]:
    activation = feature_map.activation
    found = feature_map.preactivations(z)
    if not feature_map.piecewise_linear or activation.smooth:
        return [activation.derivative(g) for g in found]
    low, high = activation.derivative(torch.tensor([-1.0, 1.0], dtype=z.dtype)).tolist()
    smeared = []
    for g in found:
        size = g.detach().square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-300)
        smeared.append(low + (high - low) * torch.sigmoid(g / (softness * size)))
    return smeared


def _power(feature_map: FeatureMap, slopes: list[Tensor], v: Tensor, rounds: int) -> Tensor:
    """``rounds`` power iterations of JᵀJ on the rows of ``v``."""
    for _ in range(rounds):
        with torch.enable_grad():
            live = v.detach().requires_grad_()
            half = feature_map.push(live, slopes).square().sum() / 2
            (v,) = torch.autograd.grad(half, live)
        norm = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        v = torch.where(norm > 0, v / norm, live.detach())
    return v.detach()


def _true_slopes(feature_map: FeatureMap, z: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [feature_map.activation.derivative(g) for g in feature_map.preactivations(z)]


def _best_of(feature_map: FeatureMap, z: Tensor, v: Tensor, best: Found | None) -> Found:
    """The best row of ``z``, its norm by SVD, where it beats ``best``."""
    slopes = _true_slopes(feature_map, z)
    with torch.no_grad():
        stretch = torch.linalg.vector_norm(
            feature_map.push(_power(feature_map, slopes, v, 4), slopes), dim=1
        )
    stretch = torch.where(stretch.isfinite(), stretch, -1.0)  # an ascent that ran off to infinity
    for row in stretch.topk(min(3, len(stretch))).indices.tolist():
        if float(stretch[row]) < 0:
            break
        ends = jacobian_norm(feature_map, z[row])
        if ends is not None and (best is None or ends[0] > best.value):
            best = Found(ends[0], z[row].clone())
    if best is None:
        return Found(0.0, z[0].clone())  # every candidate sits on a kink; 0 is a lower bound
    return best


def _walk(feature_map: FeatureMap, z: Tensor, v: Tensor, best: Found, rounds: int = 12) -> Found:
    """z ← ±v, the direction that J(z) stretches most: J(v)v is then often longer still."""
    if feature_map.smooth:
        return best
    z = torch.cat([z, best.z[None]])
    v = torch.cat([v, best.z[None]])
    for _ in range(rounds):
        v = _power(feature_map, _true_slopes(feature_map, z), v, 8)
        size = torch.linalg.vector_norm(z, dim=1, keepdim=True)
        candidates = torch.cat([v, -v]) * size.repeat(2, 1)
        slopes = _true_slopes(feature_map, candidates)
        w = _power(feature_map, slopes, v.repeat(2, 1), 4)
        with torch.no_grad():
            stretch = torch.linalg.vector_norm(feature_map.push(w, slopes), dim=1)
        first, second = stretch.chunk(2)
        take = (first >= second)[:, None]
        up, down = candidates.chunk(2)
        along, back = w.chunk(2)
        z, v = torch.where(take, up, down), torch.where(take, along, back)
        best = _best_of(feature_map, z, v, best)
    return best
