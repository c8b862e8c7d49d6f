"""Watch a forward pass: which torch function meets which parameter, and how.

Every torch function and tensor method passes a ``TorchFunctionMode``, so a parameter used in
``F.linear``, by an operator, through its transpose or inside ``nn.MultiheadAttention`` is seen
alike, whatever the modules are called. A use that no operation here describes is written down
under ``unknown`` and its parameter goes the general way.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name

from ntkscope.kernels.module.reading import reads
from ntkscope.kernels.module.reading.operations import (
    Convolution,
    Dense,
    Lookup,
    Operation,
    Scale,
    Shift,
)


@dataclass(frozen=True)
class Handle:
    """A parameter, or its transpose."""

    name: str
    transposed: bool
    tensor: Tensor


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
        opened = _OPENED.get(func)
        if opened is not None:
            with self:
                return opened(*args, **kwargs)
        _refuse_batch_statistics(func, args, kwargs)
        if func in reads.FUNCTIONS and not self.trace.depends_on_data:
            self.trace.depends_on_data = resolve_name(func) or func.__name__
        if func in _KINKED and args and isinstance(args[0], Tensor):
            self.near_kinks.append(_near_zero(args[0].detach()))
        met = self._met([*args, *kwargs.values()])
        reading = _READERS.get(func)
        bound = reading and reading.bind(args, kwargs)
        out = func(*args, **kwargs)
        # inside an autograd.Function gradients are off: its uses show in the graph alone
        if met and torch.is_grad_enabled() and _has_gradient(out):
            self._note(func, reading, bound, met, out)
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

    def _note(
        self, func: Any, reading: _Reader | None, bound: Any, met: set[int], out: Any
    ) -> None:
        trace = self.trace
        if func in _TRANSPOSES and _is_transpose(func, out, trace.handles[next(iter(met))].tensor):
            (key,) = met
            handle = trace.handles[key]
            trace.uses[key] += 1
            trace.handles[id(out)] = Handle(handle.name, not handle.transposed, out)
            return
        read = None
        if reading is not None and isinstance(out, Tensor):
            read = reading.read(bound, {k: trace.handles[k] for k in met}, out)
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
            if handle.transposed and not isinstance(operation, Dense):
                trace.unknown.setdefault(handle.name, "its transpose is used elementwise")
                continue
            if handle.transposed:
                assert isinstance(operation, Dense)
                operation = Dense(not operation.transposed)
            operations[handle.name] = operation
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


Used = dict[Tensor, Operation]
Read = tuple[Tensor | None, Used] | None


@dataclass(frozen=True)
class _Reader:
    """How to read the arguments of one torch function."""

    names: tuple[str, ...]
    defaults: dict[str, Any]
    read: Callable[[dict[str, Any], dict[int, Handle], Tensor], Read]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**self.defaults, **dict(zip(self.names, args, strict=False)), **kwargs}


def _watched(tensor: Any, handles: dict[int, Handle]) -> TypeGuard[Tensor]:
    return isinstance(tensor, Tensor) and id(tensor) in handles


def _read_linear(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
    del out
    used: Used = {}
    if _watched(a["weight"], handles):
        used[a["weight"]] = Dense(transposed=False)
    if _watched(a["bias"], handles):
        used[a["bias"]] = Shift(tuple(a["bias"].shape))
    return a["input"], used


def _read_matmul(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
    del out
    weight = a["other"]
    if not _watched(weight, handles) or weight.ndim != 2 or a["input"].ndim < 2:
        return None
    return a["input"], {weight: Dense(transposed=True)}


def _reader_of_convolution(d: int) -> _Reader:
    def each(value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        return tuple(int(v) for v in (values * d if len(values) == 1 else values))

    def read(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
        if a["input"].ndim != d + 2 or out.ndim != d + 2:
            return None
        used: Used = {}
        weight = a["weight"]
        if _watched(weight, handles):
            kernel, dilation, padding = tuple(weight.shape[2:]), each(a["dilation"]), a["padding"]
            before = after = (0,) * d
            if padding == "same":
                totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
                before = tuple(t // 2 for t in totals)
                after = tuple(t - t // 2 for t in totals)
            elif padding != "valid":
                before = after = each(padding)
            used[weight] = Convolution(
                kernel, each(a["stride"]), before, after, dilation, int(a["groups"])
            )
        if _watched(a["bias"], handles):
            used[a["bias"]] = Shift((len(a["bias"]),) + (1,) * d)
        return a["input"], used

    return _Reader(
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
        {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}, read,
    )  # fmt: skip


def _read_embedding(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
    del handles, out
    if a["max_norm"] is not None or a["scale_grad_by_freq"]:
        return None
    weight, padding = a["weight"], a["padding_idx"]
    if padding is not None and padding < 0:
        padding += len(weight)
    return a["input"], {weight: Lookup(len(weight), padding)}


def _reader_of_norm(
    names: str, defaults: dict[str, Any], plain: Callable[[dict[str, Any]], Tensor], channels: bool
) -> _Reader:
    def read(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
        def shape(p: Tensor) -> tuple[int, ...]:
            return (len(p),) + (1,) * (out.ndim - 2) if channels else tuple(p.shape)

        used: Used = {}
        weight, bias = a.get("weight"), a.get("bias")
        if _watched(weight, handles):
            used[weight] = Scale(shape(weight))
        if _watched(bias, handles):
            used[bias] = Shift(shape(bias))
        if weight is None or weight not in used:
            return None, used
        with torch.no_grad():
            return plain(a), used

    return _Reader(tuple(names.split()), {"weight": None, "bias": None, **defaults}, read)


def _reader_of_elementwise(scale: bool, sign: float, reflected: bool = False) -> _Reader:
    def read(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
        first, second = a["input"], a["other"]
        if a["alpha"] != 1 or a["out"] is not None:
            return None
        both = (_watched(first, handles), _watched(second, handles))
        if both == (True, True) or not isinstance(first, Tensor) or not isinstance(second, Tensor):
            return None
        p, x = (first, second) if both[0] else (second, first)
        if x.shape != out.shape:
            return None
        own = sign if (p is second) != reflected else 1.0
        shape = tuple(p.shape)
        return (x, {p: Scale(shape, own)}) if scale else (None, {p: Shift(shape, own)})

    return _Reader(("input", "other"), {"alpha": 1, "out": None}, read)


def _read_prelu(a: dict[str, Any], handles: dict[int, Handle], out: Tensor) -> Read:
    weight = a["weight"]
    if not _watched(weight, handles) or out.ndim < 2:
        return None
    shape = (len(weight),) + (1,) * (out.ndim - 2) if len(weight) > 1 else (1,)
    return torch.clamp(a["input"].detach(), max=0), {weight: Scale(shape)}


_MATMUL = _Reader(("input", "other"), {}, _read_matmul)
_LINEAR = _Reader(("input", "weight", "bias"), {"bias": None}, _read_linear)
_EMBEDDING = _Reader(
    ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"),
    {"padding_idx": None, "max_norm": None, "scale_grad_by_freq": False}, _read_embedding,
)  # fmt: skip

_READERS: dict[Any, _Reader] = {
    F.linear: _LINEAR,
    torch.matmul: _MATMUL,
    torch.mm: _MATMUL,
    Tensor.matmul: _MATMUL,
    Tensor.mm: _MATMUL,
    Tensor.__matmul__: _MATMUL,
    torch.conv1d: _reader_of_convolution(1),
    torch.conv2d: _reader_of_convolution(2),
    torch.conv3d: _reader_of_convolution(3),
    F.embedding: _EMBEDDING,
    F.layer_norm: _reader_of_norm(
        "input normalized_shape weight bias eps", {"eps": 1e-5},
        lambda a: F.layer_norm(a["input"], a["normalized_shape"], None, None, a["eps"]), False,
    ),
    F.rms_norm: _reader_of_norm(
        "input normalized_shape weight eps", {"eps": None},
        lambda a: F.rms_norm(a["input"], a["normalized_shape"], None, a["eps"]), False,
    ),
    F.group_norm: _reader_of_norm(
        "input num_groups weight bias eps", {"eps": 1e-5},
        lambda a: F.group_norm(a["input"], a["num_groups"], None, None, a["eps"]), True,
    ),
    F.batch_norm: _reader_of_norm(
        "input running_mean running_var weight bias training momentum eps", {"eps": 1e-5},
        lambda a: F.batch_norm(
            a["input"], a["running_mean"], a["running_var"], eps=a["eps"]
        ), True,
    ),
    F.instance_norm: _reader_of_norm(
        "input running_mean running_var weight bias use_input_stats momentum eps",
        {"running_mean": None, "running_var": None, "use_input_stats": True, "eps": 1e-5},
        lambda a: F.instance_norm(
            a["input"],
            None if a["use_input_stats"] else a["running_mean"],
            None if a["use_input_stats"] else a["running_var"],
            use_input_stats=a["use_input_stats"], eps=a["eps"],
        ), True,
    ),
    F.prelu: _Reader(("input", "weight"), {}, _read_prelu),
    **dict.fromkeys(
        (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__),
        _reader_of_elementwise(scale=False, sign=1.0),
    ),
    **dict.fromkeys(
        (torch.sub, Tensor.sub, Tensor.__sub__), _reader_of_elementwise(scale=False, sign=-1.0)
    ),
    Tensor.__rsub__: _reader_of_elementwise(scale=False, sign=-1.0, reflected=True),
    **dict.fromkeys(
        (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__),
        _reader_of_elementwise(scale=True, sign=1.0),
    ),
}  # fmt: skip

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


def _opened(function: Any, **names: Any) -> Any:
    """A Python function of torch whose inner calls pass the mode, instead of the whole function.

    ``names`` replace functions that it calls.
    """
    inner = {**function.__globals__, **names, "has_torch_function": lambda *_: False}
    copy = types.FunctionType(
        function.__code__, inner, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_project: Any = getattr(F, "_in_projection_packed", None)


def _projected(q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None) -> Any:
    """Queries, keys and values by one product, taken apart by ``unbind``.

    torch's own takes them apart by index, and the gradient of an index is a tensor of zeros as large
    as all three, filled and added for each of them in every backward pass.
    """
    if k is not v or q is not k:
        return _project(q, k, v, w, b)
    both = F.linear(q, w, b).unflatten(-1, (3, q.shape[-1]))
    return both.movedim(-2, 0).contiguous().unbind(0)


_OPENED = {
    F.multi_head_attention_forward: _opened(
        F.multi_head_attention_forward, _in_projection_packed=_projected
    )
}


def _refuse_batch_statistics(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if func is F.batch_norm and _READERS[func].bind(args, kwargs).get("training"):
        raise ValueError(
            "the model normalises over the batch (BatchNorm in training mode), so a sample has no "
            "gradient of its own; call model.eval(), or use GroupNorm"
        )


def _is_transpose(func: Any, out: Any, tensor: Tensor) -> bool:
    del func
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
