"""Watch a forward pass: which torch function meets which parameter, and how.

Every torch function and tensor method passes a ``TorchFunctionMode``, so a parameter used in
``F.linear``, by an operator, through its transpose or inside ``nn.MultiheadAttention`` is seen
alike, whatever the modules are called. A use that no operation here describes is written down
under ``unknown`` and its parameter goes the general way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name

from ntkscope.kernels.module.reading import (
    layers,  # noqa: F401  # registers the readers
    reads,
)
from ntkscope.kernels.module.reading.derived import Derived, Makings, Through
from ntkscope.kernels.module.reading.kinks import KINKED, near_zero
from ntkscope.kernels.module.reading.layers.layer import (
    OPENED,
    READERS,
    REFUSALS,
    Operation,
    Reader,
)
from ntkscope.kernels.module.reading.slopes import with_slope
from ntkscope.kernels.module.reading.trace import Call, Fixed, Handle, Trace
from ntkscope.kernels.module.reading.views import VIEWS, Entries, Gather, through_view


def record(
    run: Callable[[], Any],
    parameters: Mapping[str, Tensor],
    clone: frozenset[int] = frozenset(),
    fixed: Fixed | None = frozenset(),
    *,
    closely: bool = False,
    values: bool = True,
    slopes: bool = False,
) -> Trace:
    """Run the forward pass and return its :class:`Trace`.

    ``parameters`` are the leaves to watch; inputs of the calls numbered in ``clone`` are copied, and
    gathers in ``fixed`` are views, their indices being no samples', and calls in it make tensors of
    parameters alone. Where it is None, the trace says what each call made.
    closely: notice readings of values below torch's functions too, which slows the pass, and raise
    ValueError where it normalises over the batch. All ``parameters`` are to be watched then.
    values: keep what the calls made; without, its shapes alone, and the pass holds no more than its graph.
    slopes: keep those of activations, for several passes back.
    """
    watcher = _Watcher(parameters, clone, fixed, closely, values, slopes)
    below = reads.ValueReads()
    with torch.enable_grad(), below if closely else nullcontext(), watcher:
        output = run()
    watcher.trace.output = output
    watcher.trace.near_kinks = int(sum(watcher.near_kinks))
    watcher.trace.depends_on_data = watcher.trace.depends_on_data or below.found
    return watcher.trace


class _Watcher(TorchFunctionMode):
    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        clone: frozenset[int],
        fixed: Fixed | None,
        closely: bool,
        values: bool,
        slopes: bool,
    ) -> None:
        super().__init__()
        self._values, self._slopes = values, slopes
        self._leaves = parameters
        self._comparing = fixed is None
        sources = {
            id(t): (replace(Derived.of(n), version=t._version), t) for n, t in parameters.items()
        }
        wanted = self._comparing or any(isinstance(each, str) for each in fixed or ())
        self._makings = Makings(sources) if wanted else None
        self.trace = Trace(handles={id(t): Handle(n, False, t) for n, t in parameters.items()})
        self._clone, self._fixed, self._closely = clone, fixed or frozenset(), closely
        self._dtype = next(iter(parameters.values())).dtype if parameters else None
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
        if func in KINKED and args and isinstance(args[0], Tensor):
            self.near_kinks.append(_bare(near_zero(_bare(args[0]).detach())))
        met = self._met([*args, *kwargs.values()])
        reader = READERS.get(func)
        bound = {} if reader is None else reader.bind(args, kwargs)
        if self._closely and func in REFUSALS and id(bound.get("input")) not in met:
            REFUSALS[func](bound)
        run = with_slope(func) if self._slopes and not met else func
        out = run(*args, **kwargs)
        if func is torch.autograd.grad and not torch._C._are_functorch_transforms_active():
            self.trace.note_gradients(out)
        if (
            func is F.instance_norm
        ):  # a view, of which an operation in place would rewrite the history
            out = out.clone()
        if isinstance(out, Tensor) and out.dtype != self._dtype:
            self._note_rounding(_bare(out))
        if torch._C._are_functorch_transforms_active():
            return out  # good until the transform ends; what it uses shows in the graph
        # inside an autograd.Function gradients are off: its uses show in the graph alone
        live = torch.is_grad_enabled() and _has_gradient(out)
        passed_on = live and met and self._passed_on(func, args, kwargs, met, out)
        if live and not passed_on and not self._derives(func, args, kwargs, met, out) and met:
            self._note(func, reader, bound, met, out)
        return out

    def _derives(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], met: set[int], out: Any
    ) -> bool:
        """Whether the call makes one tensor of parameters alone, which is then watched as they are."""
        makings = self._makings
        found = makings and makings.of(func, args, kwargs, out)
        if not makings or not found:
            return False
        if self._comparing:
            makings.add(found, out, args, kwargs)
            self.trace.made[found.key] = out.detach()
            return False
        if found.key not in self._fixed:
            return False
        derived = makings.add(found, out, args, kwargs)
        self.trace.count_uses(out, met)
        self.trace.handles[id(out)] = Handle("", False, out, None, derived)
        return True

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
        if out is handle.tensor and (func in _IDENTITIES or func in VIEWS):
            return True
        if handle.derived is not None:
            return False
        if func in _TRANSPOSES and handle.entries is None and _is_transpose(out, handle.tensor):
            seen = [Handle(handle.name, not handle.transposed, out)]
        elif handle.transposed or out is handle.tensor:
            return False
        else:
            found = self._shown(handle, func, args, kwargs, out)
            seen = [Handle(handle.name, False, tensor, entries) for tensor, entries in found]
        self.trace.uses[key] += 1 if seen else 0
        self.trace.handles.update({id(each.tensor): each for each in seen})
        makings = self._makings
        for place, each in enumerate(seen) if makings else ():
            pick = place if isinstance(out, (tuple, list)) else None
            made = makings and makings.of(func, args, kwargs, each.tensor, pick)
            if makings and made:
                makings.add(made, each.tensor, args, kwargs)
        return bool(seen)

    def _shown(
        self, handle: Handle, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> list[tuple[Tensor, Entries]]:
        entries = handle.entries or Entries.of(handle.tensor)
        gather = Gather.of(func, args, kwargs)
        if gather is None:
            own = bool(args) and args[0] is handle.tensor
            return entries.seen(func, args, kwargs, out) if own else []
        if gather.table is not handle.tensor:
            return []
        before = self.trace.gathers.setdefault(handle.name, [])
        before.append(gather)
        fixed = (handle.name, len(before) - 1) in self._fixed
        return entries.gathered(gather, out) if fixed else []

    def _note_rounding(self, out: Tensor) -> None:
        own, found = self._dtype, self.trace.coarse
        if own is None or not out.requires_grad or not out.is_floating_point():
            return
        if torch.finfo(out.dtype).eps > torch.finfo(found[0] if found else own).eps:
            self.trace.coarse = out.dtype, _module_at_work()

    def _note(
        self, func: Any, reader: Reader | None, bound: dict[str, Any], met: set[int], out: Any
    ) -> None:
        trace, read = self.trace, None
        if reader is not None and isinstance(out, Tensor):
            read = reader.read(bound, lambda value: id(value) in met, out)
        if read is None or {id(t) for t in read[1]} != met or _is_empty(out, read[0]):
            name = resolve_name(func) or getattr(func, "__name__", str(func))
            where = " on a tensor without entries" if read and _is_empty(out, read[0]) else ""
            for key in met:
                for own_name in trace.handles[key].names:
                    trace.unknown.setdefault(own_name, f"used in {name}{where}")
            return
        x, used = read
        if out.is_complex() or (x is not None and x.is_complex()):
            for key in met:
                for own_name in trace.handles[key].names:
                    trace.unknown.setdefault(own_name, "meets complex numbers")
            return
        operations: dict[str, Operation] = {}
        for tensor, operation in used.items():
            handle = trace.handles[id(tensor)]
            trace.uses[id(tensor)] += 1
            found = self._operations(handle, operation)
            if isinstance(found, str):
                trace.unknown.setdefault(handle.name, found)
                continue
            for twice in operations.keys() & found.keys():
                trace.unknown.setdefault(twice, "used twice in one call")
            operations.update(found)
        if not operations:
            return
        if x is not None and len(trace.calls) in self._clone:
            x = x.clone()
        if self._values:
            trace.outs.append((tuple(operations), out))
        made = out.detach() if self._values else out.new_empty(1).expand(out.shape)
        trace.calls.append(
            Call(
                None if x is None else x.detach(), 0 if x is None else x._version, made,
                get_gradient_edge(out), operations, resolve_name(func) or "",
            )
        )  # fmt: skip

    def _operations(self, handle: Handle, operation: Operation) -> dict[str, Operation] | str:
        """By parameter, what ``operation`` does with the tensor of ``handle``; or why it is unknown."""
        derived = handle.derived
        if derived is not None:
            if handle.tensor._version != derived.version:
                return "written over after it was made of parameters"
            values = {name: self._leaves[name].detach() for name in derived.names}
            return {
                name: Through(operation, derived.key, name, derived, values, operation.heavy)
                for name in derived.names
            }
        own = operation.on_transpose() if handle.transposed else operation
        own = own and through_view(own, handle.entries)
        if own is None:
            return f"its {'transpose is used elementwise' if handle.transposed else 'view is used'}"
        return {handle.name: own}


_ATTRIBUTES: Any = Tensor  # whose descriptors type checkers do not know

_TRANSPOSES = {
    torch.t, Tensor.t, torch.transpose, Tensor.transpose, torch.permute, Tensor.permute,
    _ATTRIBUTES.T.__get__, _ATTRIBUTES.mT.__get__, torch.swapaxes, Tensor.swapaxes,
}  # fmt: skip

# may return the tensor itself
_IDENTITIES = {
    Tensor.contiguous, Tensor.to, Tensor.type_as, Tensor.float, Tensor.double, F.dropout, torch.dropout,
}  # fmt: skip


def _bare(tensor: Tensor) -> Tensor:
    """The tensor that a transform of torch.func has wrapped, which may be kept beyond its end."""
    wrapped = torch._C._functorch
    while wrapped.is_functorch_wrapped_tensor(tensor):
        tensor = wrapped.get_unwrapped(tensor)
    return tensor


def _module_at_work() -> str:
    """The class of the innermost module that is running, or nothing."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        own = frame.f_locals.get("self")
        if isinstance(own, nn.Module):
            return type(own).__name__
    return ""


def _is_transpose(out: Any, tensor: Tensor) -> bool:
    return (
        isinstance(out, Tensor)
        and tensor.ndim == 2
        and out.shape == tensor.shape[::-1]
        and out.stride() == tensor.stride()[::-1]
        and out.data_ptr() == tensor.data_ptr()
        and (tensor.shape[0] != tensor.shape[1] or out.stride() != tensor.stride())
    )


def _is_empty(out: Tensor, x: Tensor | None) -> bool:
    return out.numel() == 0 or (x is not None and x.numel() == 0)


def _has_gradient(out: Any) -> bool:
    if isinstance(out, Tensor):
        return out.requires_grad
    if isinstance(out, (list, tuple)):
        return any(_has_gradient(value) for value in out)
    return False
