"""How far a computed kernel may lie from the exact one: the graph, run on bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ntkscope.kernels.limiting.architectures.graph import Graph
from ntkscope.kernels.limiting.architectures.operation import Error, Seen, U
from ntkscope.kernels.limiting.architectures.pairs import Side


def kernel_error(graph: Graph, seen: Mapping[int, Seen], nngp: bool) -> float:
    """A bound on the error of an entry, relative to √(K_ii K_jj), of the NTK or the NNGP kernel."""
    errors: dict[int, Error] = {}
    for node in graph:
        before = [seen[i] for i in node.inputs]
        inputs = [errors[i] for i in node.inputs]
        errors[node.index] = node.operation.error(inputs, before, seen[node.index])
    last = errors[graph.output]
    found = last.of_covariance(seen[graph.output].spread) if nngp else last.tangent
    return (found + (8 + graph[graph.output].layout.n_positions) * U) * (1 + 2.0**-10)


def joined(seen: dict[int, Seen], graph: Graph, side: Side) -> None:
    """Add to ``seen`` what the samples of ``side`` are like."""
    for node in graph:
        V = side.variances[node.index]
        alive = V[V > 0]
        old = seen.get(node.index, Seen())
        low, high = old.lowest, old.highest
        if alive.numel():
            a, b = (float(x) for x in torch.aminmax(alive))
            low, high = min(low, a), max(high, b)
        ratio = math.sqrt(high / low) if high > 0 else 1.0
        grown = max(old.amplification, side.amplifications.get(node.index, 1.0))
        seen[node.index] = Seen(0.5 * (ratio + 1.0 / ratio), low, high, grown)
