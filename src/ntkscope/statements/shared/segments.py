"""The linear pieces of a feature map along a segment."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkscope.lipschitz import FeatureMap


def breakpoints(mapping: FeatureMap, x: Tensor, y: Tensor) -> Tensor:
    """0 = t_0 < … < t_m = 1 such that the map is linear in t on each [t_j, t_{j+1}] of x + t(y − x).

    Layer by layer: between the cuts so far every pre-activation is linear in t, so its sign change
    is found from its values at the two ends. For activations whose only kink is at 0.
    """
    cuts = torch.tensor([0.0, 1.0], dtype=x.dtype)
    for layer in range(mapping.hidden):
        g = mapping.preactivations(points(x, y, cuts))[layer]
        left, right = g[:-1], g[1:]
        changes = (left * right < 0).nonzero()
        interval, neuron = changes[:, 0], changes[:, 1]
        a, b = left[interval, neuron], right[interval, neuron]
        t0, t1 = cuts[interval], cuts[interval + 1]
        cuts = torch.unique(torch.cat([cuts, t0 + (t1 - t0) * (a / (a - b))]))
    return cuts


def points(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """x + t(y − x), one row for each t."""
    return x + t[:, None] * (y - x)


def value(mapping: FeatureMap, z: Tensor) -> Tensor:
    """g_layer at the rows of z."""
    f = z
    for index, matrix in enumerate(mapping.matrices):
        g = f @ matrix + mapping.bias(index)
        if index == mapping.hidden:
            return g
        phi = mapping.activation(g)
        f = mapping.residual * phi + f if mapping.residual else phi
    raise AssertionError("a map has at least one matrix")


def directional(mapping: FeatureMap, z: Tensor, u: Tensor) -> Tensor:
    """J(g)(z) u for each row of z, shape (S, n)."""
    slopes = [mapping.activation.derivative(g) for g in mapping.preactivations(z)]
    return mapping.push(u.expand(len(z), -1), slopes)
