"""Watch a forward pass: which torch function meets which parameter, and how.

Every torch function and tensor method passes a ``TorchFunctionMode``, so a parameter used in
``F.linear``, by an operator, through its transpose or inside ``nn.MultiheadAttention`` is seen
alike, whatever the modules are called. A use that no operation here describes is written down
under ``unknown`` and its parameter goes the general way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name

from ntkscope.kernels.module.reading import (
    layers,  # noqa: F401  # registers the readers
    reads,
)
from ntkscope.kernels.module.reading.layers.layer import (
    OPENED,
    READERS,
    REFUSALS,
    Operation,
    Reader,
)
from ntkscope.kernels.module.reading.views import Entries, through_view


@dataclass(frozen=True)
class Handle:
    """A parameter, its transpose, or a view of some of its ``entries``."""

    name: str
    transposed: bool
    tensor: Tensor
    entries: Entries | None = None


@dataclass
class Call:
    """One layer at work: inputs x, outputs (by their place in the graph), operation by parameter.

    ``out`` shares storage with what the model goes on to compute, so its values are only good for
    comparing two passes; ``edge`` stays right when the output is changed in place.
    """

    x: Tensor | None
    version: int
    out: Tensor
    edge: GradientEdge | None
    operations: dict[str, Operation]
    function: str

    def signature(self) -> tuple[Any, ...]:
        return (self.function, tuple(self.operations.items()))


@dataclass
class Trace:
    """What one forward pass showed."""

    output: Any = None
    calls: list[Call] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    depends_on_data: str = ""
    near_kinks: int = 0
    handles: dict[int, Handle] = field(default_factory=dict)
    uses: Counter[int] = field(default_factory=Counter)

    def require_complete(self) -> None:
        """Add parameters that the autograd graph reaches by more edges than were seen."""
        output = self.output
        if not isinstance(output, Tensor) or output.grad_fn is None:
            return
        edges = _edges_into(output.grad_fn)
        for key, handle in self.handles.items():
            node = _node(handle.tensor)
            if node is not None and edges[node] > self.uses[key]:
                self.unknown.setdefault(handle.name, "a use that torch's functions do not show")

    def changed_in_place(self) -> set[int]:
        """Indices of calls whose input was written over after the call."""
        return {
            i for i, c in enumerate(self.calls) if c.x is not None and c.x._version != c.version
        }


def record(
    run: Callable[[], Any],
    parameters: Mapping[str, Tensor],
    clone: frozenset[int] = frozenset(),
    *,
    closely: bool = False,
) -> Trace:
    """Run the forward pass and return its :class:`Trace`.

    ``parameters`` are the leaves to watch; inputs of the calls numbered in ``clone`` are copied.
    closely: notice readings of values below torch's functions too, which slows the pass.
    Raises ValueError where the pass normalises over the batch or draws random numbers.
    """
    watcher = _Watcher(parameters, clone)
    below = reads.ValueReads()
    with torch.enable_grad(), below if closely else nullcontext(), watcher:
        output = run()
    watcher.trace.output = output
    watcher.trace.near_kinks = int(sum(watcher.near_kinks))
    watcher.trace.depends_on_data = watcher.trace.depends_on_data or below.found
    return watcher.trace


class _Watcher(TorchFunctionMode):
    def __init__(self, parameters: Mapping[str, Tensor], clone: frozenset[int]) -> None:
        super().__init__()
        self.trace = Trace(handles={id(t): Handle(n, False, t) for n, t in parameters.items()})
        self._clone = clone
        self.near_kinks: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        opened = OPENED.get(func)
        if opened is not None:
            with self:
                inside = opened(*args, **kwargs)
            if inside is not NotImplemented:
                return inside
        if func in reads.FUNCTIONS and not self.trace.depends_on_data:
            self.trace.depends_on_data = resolve_name(func) or func.__name__
        if func in _KINKED and args and isinstance(args[0], Tensor):
            self.near_kinks.append(_near_zero(args[0].detach()))
        met = self._met([*args, *kwargs.values()])
        reader = READERS.get(func)
        bound = {} if reader is None else reader.bind(args, kwargs)
        if func in REFUSALS:
            REFUSALS[func](bound)
        out = func(*args, **kwargs)
        # inside an autograd.Function gradients are off: its uses show in the graph alone
        live = met and torch.is_grad_enabled() and _has_gradient(out)
        if live and not self._passed_on(func, args, kwargs, met, out):
            self._note(func, reader, bound, met, out)
        return out

    def _met(self, values: Any) -> set[int]:
        found = set()
        for value in values:
            if isinstance(value, Tensor):
                if id(value) in self.trace.handles:
                    found.add(id(value))
            elif isinstance(value, (list, tuple)):
                found |= self._met(value)
        return found

    def _passed_on(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], met: set[int], out: Any
    ) -> bool:
        """Whether the call only shows a parameter otherwise, whose uses are then seen."""
        key = next(iter(met))
        handle = self.trace.handles[key]
        if func in _TRANSPOSES and handle.entries is None and _is_transpose(out, handle.tensor):
            seen = Handle(handle.name, not handle.transposed, out)
        elif handle.transposed or not args or args[0] is not handle.tensor or out is handle.tensor:
            return False
        else:
            entries = (handle.entries or Entries.of(handle.tensor)).seen(func, args, kwargs, out)
            if entries is None:
                return False
            seen = Handle(handle.name, False, out, entries)
        self.trace.uses[key] += 1
        self.trace.handles[id(out)] = seen
        return True

    def _note(
        self, func: Any, reader: Reader | None, bound: dict[str, Any], met: set[int], out: Any
    ) -> None:
        trace, read = self.trace, None
        if reader is not None and isinstance(out, Tensor):
            read = reader.read(bound, lambda value: id(value) in met, out)
        if read is None or {id(t) for t in read[1]} != met:
            name = resolve_name(func) or getattr(func, "__name__", str(func))
            for key in met:
                trace.unknown.setdefault(trace.handles[key].name, f"used in {name}")
            return
        x, used = read
        operations: dict[str, Operation] = {}
        for tensor, operation in used.items():
            handle = trace.handles[id(tensor)]
            trace.uses[id(tensor)] += 1
            alone = not any(each.heavy for each in used.values())
            own = operation.on_transpose() if handle.transposed else operation
            own = own and through_view(own, handle.entries, alone)
            if own is None:
                how = "transpose is used elementwise" if handle.transposed else "view is used"
                trace.unknown.setdefault(handle.name, f"its {how}")
            else:
                operations[handle.name] = own
        if len(operations) < len(used):
            for tensor in used:
                trace.unknown.setdefault(trace.handles[id(tensor)].name, "used twice in one call")
        if x is not None and len(trace.calls) in self._clone:
            x = x.clone()
        trace.calls.append(
            Call(
                None if x is None else x.detach(), 0 if x is None else x._version, out,
                get_gradient_edge(out), operations, resolve_name(func) or "",
            )
        )  # fmt: skip


_ATTRIBUTES: Any = Tensor  # whose descriptors type checkers do not know

_TRANSPOSES = {
    torch.t, Tensor.t, torch.transpose, Tensor.transpose, torch.permute, Tensor.permute,
    _ATTRIBUTES.T.__get__, _ATTRIBUTES.mT.__get__, torch.swapaxes, Tensor.swapaxes,
}  # fmt: skip

# a derivative that jumps at 0
_KINKED = {
    F.relu, torch.relu, Tensor.relu, F.leaky_relu, F.prelu, F.relu6, F.rrelu, F.threshold,
    torch.relu_, Tensor.relu_, torch.abs, Tensor.abs,
}  # fmt: skip


def _near_zero(x: Tensor) -> Tensor:
    """Entries that rounding may have moved across 0: within n·u of the sample's largest, n entries.

    Exact zeros are left out: they come from zero inputs, not from cancellation.
    """
    if x.ndim < 2 or not x.is_floating_point():
        return torch.zeros((), dtype=torch.long, device=x.device)
    flat = x.reshape(len(x), -1).abs()
    reach = flat.shape[1] * torch.finfo(x.dtype).eps / 2 * flat.amax(dim=1, keepdim=True)
    return ((flat <= reach) & (flat > 0)).sum()


def _is_transpose(out: Any, tensor: Tensor) -> bool:
    return (
        isinstance(out, Tensor)
        and tensor.ndim == 2
        and out.shape == tensor.shape[::-1]
        and out.stride() == tensor.stride()[::-1]
        and out.data_ptr() == tensor.data_ptr()
        and (tensor.shape[0] != tensor.shape[1] or out.stride() != tensor.stride())
    )


def _has_gradient(out: Any) -> bool:
    if isinstance(out, Tensor):
        return out.requires_grad
    if isinstance(out, (list, tuple)):
        return any(_has_gradient(value) for value in out)
    return False


def _node(tensor: Tensor) -> Any:
    return get_gradient_edge(tensor).node if tensor.requires_grad else None


def _edges_into(root: Any) -> Counter[Any]:
    """For each node of the graph below ``root``, the number of edges that lead to it."""
    edges: Counter[Any] = Counter()
    stack, seen = [root], {root}
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is None:
                continue
            edges[node] += 1
            if node not in seen:
                seen.add(node)
                stack.append(node)
    return edges
