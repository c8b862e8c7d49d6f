"""The propagation through a graph: of samples with themselves, and of tiles of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import Graph, Node
from ntkscope.kernels.limiting.architectures.operation import Operation, State
from ntkscope.kernels.limiting.architectures.pairs import Pairing, Side, same_positions


def side_of(graph: Graph, entries: list[Tensor], every: bool = False) -> tuple[Side, State | None]:
    """Some samples with every node's variances; and with themselves, the output's state.

    Without operations that mix positions the variances follow from one another, and the state is
    formed only for ``every``.
    """
    side = Side(entries)
    if not every and not any(n.operation.mixes for n in graph):
        for node in graph:
            inputs = [side.variances[i] for i in node.inputs]
            side.variances[node.index] = node.operation.variance(inputs, entries)
        return side, None
    state = walk(graph, Pairing(side, side, listed=True), building=True)
    return side, state


def walk(graph: Graph, at: Pairing, building: bool = False) -> State:
    """The state of the output. ``building``: the variances of ``at.left`` are found on the way."""
    states: dict[int, State] = {}
    last = {i: node.index for node in graph for i in node.inputs}
    for node in graph:
        at.node, at.pairs = node.index, node.pairs
        states[node.index] = _step(graph, node, states, at, building)
        for i in node.inputs:
            if last[i] == node.index and i != graph.output:
                states.pop(i, None)
    return states[graph.output]


def _step(graph: Graph, node: Node, states: dict[int, State], at: Pairing, building: bool) -> State:
    operation = node.operation
    inputs = list(_inputs(graph, node, states))
    side = at.left
    if building and not operation.mixes:
        variances = [side.variances[i] for i in node.inputs]
        side.variances[node.index] = operation.variance(variances, side.entries)
    made, tangent, scale = operation.propagate(inputs, at)
    if operation.mixes:
        # covariances, of which a node that is read at p = p′ only keeps those
        if len(node.layout.positions) and not node.pairs:
            k = len(node.layout.positions)
            made = same_positions(made, k)
            tangent = None if tangent is None else same_positions(tangent, k)
        if building:
            k = len(node.layout.positions)
            own = same_positions(made, k) if node.pairs else made
            V = own.reshape(*node.layout.positions, -1).contiguous()
            side.variances[node.index] = V
            side.amplifications[node.index] = _amplification(operation, inputs[0], V, tangent, node)
        left, right = (s.variances[node.index] for s in (at.left, at.right))
        made = (0.5 * (at.rows(left) + at.cols(right))).sub_(made)
    left, right = (s.variances[node.index] for s in (at.left, at.right))
    if operation.mixes:
        at.make_exact(made)
    return State(left, right, made, tangent, scale)


def _amplification(
    operation: Operation, before: State, V: Tensor, T: Tensor | None, node: Node
) -> float:
    """The largest (M√V)² / M S Mᵀ over outputs, of S and of T."""
    pairs = [(before.left, V)]
    if T is not None and before.tangent is not None:
        k = before.left.ndim - 1
        own = same_positions(T, len(node.layout.positions)) if node.pairs else T
        single = same_positions(before.tangent, k).reshape(before.left.shape) * before.scale
        pairs.append((single, own.reshape(V.shape)))
    worst = 1.0
    for inside, after in pairs:
        sums = operation.row_sums(torch.sqrt(inside)).square()
        alive = after > 0
        if bool(alive.any()):
            worst = max(worst, float((sums[alive] / after[alive]).max()))
    return worst


def _inputs(graph: Graph, node: Node, states: dict[int, State]) -> Iterator[State]:
    """The inputs at the pairs of positions that the operation reads."""
    wanted = node.operation.mixes or (node.pairs and not node.operation.flattens)
    for i in node.inputs:
        state = states[i]
        if graph[i].pairs and not wanted:
            k = state.left.ndim - 1
            tangent = state.tangent
            yield State(
                state.left, state.right, same_positions(state.distance, k),
                None if tangent is None else same_positions(tangent, k), state.scale,
            )  # fmt: skip
        else:
            yield state
