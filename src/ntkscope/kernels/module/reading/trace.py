"""What one forward pass showed: the layers at work, and every use of a parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ntkscope.kernels.module.reading.derived import Derived
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.views import Entries, Gather

# gathers by the parameter's name and their number among its own; what is made of parameters alone by key
Fixed = frozenset[tuple[str, int] | str]


@dataclass(frozen=True)
class Handle:
    """A parameter, its transpose, a view of some of its ``entries``, or what is ``derived`` from several."""

    name: str
    transposed: bool
    tensor: Tensor
    entries: Entries | None = None
    derived: Derived | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if self.derived is None else self.derived.names


@dataclass
class Call:
    """One layer at work: inputs x, outputs (by their place in the graph), operation by parameter.

    ``out`` shares storage with what the model goes on to compute, so its values are only good for
    comparing two passes, and are left out where they are not asked for; ``edge`` stays right when the output is changed in place.
    """

    x: Tensor | None
    version: int
    out: Tensor
    edge: GradientEdge | None
    operations: dict[str, Operation]
    function: str

    def signature(self) -> tuple[Any, ...]:
        return (self.function, tuple(self.operations.items()))

    @property
    def changed(self) -> bool:
        """Whether its input was written over after the call."""
        return self.x is not None and self.x._version != self.version


@dataclass
class Trace:
    """What one forward pass showed.

    made: what each call made of parameters alone, where that is asked for. outs: of the calls, with their
    parameters, where values are kept.
    gathers: each time that a parameter's entries were taken by an index. coarse: the narrowest precision
    that a value with a gradient was rounded to, and the module that did.
    """

    output: Any = None
    calls: list[Call] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    depends_on_data: str = ""
    gathers: dict[str, list[Gather]] = field(default_factory=dict)
    coarse: tuple[torch.dtype, str] | None = None
    near_kinks: int = 0
    handles: dict[int, Handle] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)
    made: dict[str, Tensor] = field(default_factory=dict)
    outs: list[tuple[tuple[str, ...], Tensor]] = field(default_factory=list)

    def count_uses(self, out: Tensor, keys: Collection[int]) -> None:
        """Add the edges by which ``out`` was made of the handles ``keys``."""
        ends = {key: get_gradient_edge(self.handles[key].tensor) for key in keys}
        edges = _edges_into(out.grad_fn, {edge.node for edge in ends.values()})
        for key, edge in ends.items():
            self.uses[key] += edges[edge.node, edge.output_nr]

    def note_gradients(self, found: Any) -> None:
        """Add the parameters behind gradients that the pass goes on with.

        They are reached through what the first uses left, which no function shows.
        """
        roots = [t.grad_fn for t in found if isinstance(t, Tensor) and t.grad_fn is not None]
        reached = set().union(*(_edges_into(root) for root in roots)) if roots else set()
        for handle in self.handles.values():
            edge = get_gradient_edge(handle.tensor) if handle.tensor.requires_grad else None
            if edge is not None and (edge.node, edge.output_nr) in reached:
                for name in handle.names:
                    self.unknown.setdefault(name, "the pass goes on with a gradient through it")

    def require_complete(self) -> None:
        """Add parameters whose gradients a hook changes, and those that the graph reaches by more edges than were seen.

        torch gives the gradient of a layer's output before its hooks, or after them, as it goes on behind it or not.
        """
        watched = [*self.outs, *((handle.names, handle.tensor) for handle in self.handles.values())]
        for names, tensor in watched:
            for name in names if tensor._backward_hooks else ():
                self.unknown.setdefault(name, "a hook on what is made of it")
        output = self.output
        if not isinstance(output, Tensor) or output.grad_fn is None:
            return
        edges = _edges_into(output.grad_fn)
        for key, handle in self.handles.items():
            edge = get_gradient_edge(handle.tensor) if handle.tensor.requires_grad else None
            if edge is not None and edges[edge.node, edge.output_nr] > self.uses[key]:
                for name in handle.names:
                    self.unknown.setdefault(name, "a use that torch's functions do not show")


def _edges_into(root: Any, ends: Collection[Any] = ()) -> Counter[tuple[Any, int]]:
    """For each output of each node of the graph from ``root`` to ``ends``, the edges that lead to it."""
    edges: Counter[tuple[Any, int]] = Counter()
    stack, seen = [root], {root}
    while stack:
        for node, number in stack.pop().next_functions:
            if node is None:
                continue
            edges[node, number] += 1
            if node not in seen and node not in ends:
                seen.add(node)
                stack.append(node)
    return edges
