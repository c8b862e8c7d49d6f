"""A model that was read into a graph, run again for the data that the graph starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ntkscope.kernels.limiting.architectures.entry import Entry
from ntkscope.kernels.limiting.architectures.graph import Graph
from ntkscope.kernels.limiting.architectures.reading import tensors_in

Slot = tuple[int, int]  # the number of a call and which of its tensors


@dataclasses.dataclass(eq=False)
class Traced:
    """A model's graph, and how to get the data that it starts from."""

    graph: Graph
    model: nn.Module
    slots: tuple[Slot, ...]
    batch_shape: tuple[int, ...]

    def entries(self, X: Tensor, step: int = 256) -> list[Tensor]:
        """The values of each entry in float64, (channels, *positions, N)."""
        pairs = [(n, n.operation) for n in self.graph.nodes]
        entries = [(n, e) for n, e in pairs if isinstance(e, Entry)]
        entries.sort(key=lambda pair: pair[1].number)
        parts: list[list[Tensor]] = [[] for _ in entries]
        for i in range(0, len(X), step):
            catcher = _Catcher(self.slots)
            part_of_X = X[i : i + step]  # outside of what counts calls
            with torch.no_grad(), catcher, suppress(_Caught):
                self.model(part_of_X)
            for part, slot in zip(parts, self.slots, strict=True):
                part.append(catcher.found[slot])
        out = []
        for (node, entry), part in zip(entries, parts, strict=True):
            x = torch.cat(part)
            if entry.tokens:
                out.append(x.movedim(0, -1)[None])
                continue
            axis = 1 + node.layout.axes.index((-1,))
            out.append(x.movedim(axis, 0).movedim(1, -1).to(torch.float64).contiguous())
        return out


class _Caught(Exception):
    """Every entry has been seen: the rest of the pass is not wanted."""


class _Catcher(TorchFunctionMode):
    def __init__(self, slots: tuple[Slot, ...]) -> None:
        super().__init__()
        self._wanted = set(slots)
        self.found: dict[Slot, Tensor] = {}
        self._count = -1
        self._last = max((s[0] for s in slots), default=-1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._count += 1
        for place, tensor in enumerate(tensors_in([args, kwargs])):
            if (self._count, place) in self._wanted:
                self.found[self._count, place] = tensor.clone()
        if self._count == self._last:
            raise _Caught
        return func(*args, **kwargs)
