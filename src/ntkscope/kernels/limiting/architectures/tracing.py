"""Run a module once on a few samples and write down its graph of operations.

Every torch function and tensor method passes a ``TorchFunctionMode``; tensors that no weights have
met yet are data and are left alone. What no reader describes is refused by the module's path.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from ntkscope.kernels.limiting.architectures import operations  # noqa: F401  # registers readers
from ntkscope.kernels.limiting.architectures.elementwise import is_elementwise
from ntkscope.kernels.limiting.architectures.entry import Entry
from ntkscope.kernels.limiting.architectures.graph import Graph, Law, Layout, Node
from ntkscope.kernels.limiting.architectures.operations.activation import activation_made
from ntkscope.kernels.limiting.architectures.reading import READINGS, Call, Made, tensors_in
from ntkscope.kernels.limiting.architectures.refusals import (
    READS_VALUES,
    reason_for,
    refuse_modules,
    refuse_random,
)
from ntkscope.kernels.limiting.architectures.traced import Slot, Traced
from ntkscope.kernels.limiting.architectures.variances import (
    Parameter,
    Variances,
    parameters_of,
)


def trace(model: nn.Module, X: Tensor, variances: Variances, parameterization: str) -> Traced:
    """The graph of ``model`` on samples shaped like those of X.

    Raises ValueError, naming the module and the reason, where there is no limit.
    """
    refuse_modules(model)
    parameters = parameters_of(model, variances)
    try:
        twin = copy.deepcopy(model).to("cpu", torch.float64)
    except Exception as error:
        raise TypeError(
            f"the model cannot be copied to float64: {type(error).__name__}: {error}"
        ) from error
    renamed = {
        name: dataclasses.replace(parameters[name], tensor=t) for name, t in twin.named_parameters()
    }
    few = X[:3] if len(X) >= 3 else X.repeat(3, *(1,) * (X.ndim - 1))[:3]
    watcher = _Watcher(renamed, parameterization == "ntk", len(few))
    with torch.no_grad(), watcher.following(twin), watcher:
        try:
            output = twin(few)
        except (RuntimeError, IndexError, TypeError) as error:
            raise ValueError(
                f"{watcher.where()} does not take these data ({type(error).__name__}: {error}); "
                f"a sample has the shape {tuple(X.shape[1:])}"
            ) from error
    return Traced(watcher.finish(output), twin, tuple(watcher.slots), tuple(few.shape))


class _Watcher(TorchFunctionMode):
    """Keeps every tensor that it knows alive, so that identities stay theirs."""

    def __init__(self, parameters: dict[str, Parameter], ntk: bool, batch: int) -> None:
        super().__init__()
        self.ntk, self.batch = ntk, batch
        self._parameters = {id(p.tensor): p for p in parameters.values()}
        self._used: dict[int, str] = {}
        self.nodes: list[Node] = []
        self._known: dict[int, tuple[Tensor, int, int]] = {}  # tensor, version, node
        self._stack: list[str] = []
        self._muted = 0
        self._count = -1
        self._tensors: list[Tensor] = []
        self.slots: list[Slot] = []

    # -- where the pass is -----------------------------------------------------------------------

    def where(self) -> str:
        return self._stack[-1] if self._stack else "the model"

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Keep the path of the module at work, and look at the user's activations as wholes."""
        handles = []
        for path, module in model.named_modules():
            name = f"{path or 'the model'} ({type(module).__name__})"
            own = _may_be_activation(module)
            handles += [
                module.register_forward_pre_hook(self._entering(name, own)),
                module.register_forward_hook(self._leaving(own)),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str, own: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self._stack.append(name)
            if self._muted:
                self._muted += 1
            elif own and len(args) == 1 and self._is_own_activation(module, args[0]):
                self._muted = 1

        return hook

    def _is_own_activation(self, module: nn.Module, x: Any) -> bool:
        if self.node_of(x) is None:
            return False
        with torch._C.DisableTorchFunction():
            return is_elementwise(module.forward)

    def _leaving(self, own: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if self._muted == 1 and own:
                with torch._C.DisableTorchFunction():
                    call = Call(
                        "forward", self.where(), module.forward, args, {}, out, self,
                        {"input": args[0]},
                    )  # fmt: skip
                    self._add(call, activation_made(call, module.forward))
            self._muted = max(0, self._muted - 1)
            self._stack.pop()

        return hook

    # -- what readers ask ------------------------------------------------------------------------

    def node_of(self, tensor: Any) -> Node | None:
        found = self._known.get(id(tensor)) if isinstance(tensor, Tensor) else None
        if found is None:
            return None
        if tensor._version != found[1]:
            raise ValueError(
                f"{self.where()} reads a tensor that was changed in place through a view of it; "
                "write the change without '_'"
            )
        return self.nodes[found[2]]

    def node(self, index: int) -> Node:
        return self.nodes[index]

    def is_entry(self, tensor: Tensor) -> bool:
        node = self.node_of(tensor)
        return node is None or isinstance(node.operation, Entry)

    def enter(self, tensor: Tensor, layout: Layout) -> Node:
        place = next(i for i, t in enumerate(self._tensors) if t is tensor)
        if tensor.shape[0] != self.batch:
            raise ValueError(
                f"{self.where()} starts from data of shape {tuple(tensor.shape)}, which does not "
                "keep the samples on its first axis"
            )
        entry = Entry(len(self.slots), layout.channels, not tensor.is_floating_point())
        self.slots.append((self._count, place))
        return self._append(entry, (), layout, Law.MIXED, True)

    def use(self, tensor: Tensor, where: str) -> Parameter | None:
        found = self._parameters.get(id(tensor))
        if found is None:
            return None
        if id(tensor) in self._used:
            raise ValueError(
                f"{where} has no infinite-width limit here: the parameter {found.name} is used "
                f"twice (before in {self._used[id(tensor)]}), so the layers are not independent; "
                "give each its own weights"
            )
        self._used[id(tensor)] = where
        return found

    # -- the pass --------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._count += 1
        if self._muted:
            return func(*args, **kwargs)
        self._tensors = list(tensors_in([args, kwargs]))
        live = [t for t in self._tensors if self.node_of(t) is not None]
        owned = [t for t in self._tensors if id(t) in self._parameters]
        name = (resolve_name(func) or getattr(func, "__name__", str(func))).removeprefix("torch.")
        if not live and not owned:
            return func(*args, **kwargs)
        if live and func in READS_VALUES:
            raise ValueError(
                f"{self.where()} has no infinite-width limit here: it reads values of a tensor "
                f"({name}), so what it does depends on the weights"
            )
        reading = READINGS.get(func)
        bound = {} if reading is None else reading.bind(args, kwargs)
        refuse_random(self.where(), name, bound)
        out = func(*args, **kwargs)
        if not any(True for _ in tensors_in(out)):
            return out
        call = Call(name, self.where(), func, args, kwargs, out, self, bound)
        plain = reading is not None and id(bound.get("input")) not in self._parameters
        made = reading.read(call) if reading and plain else self._unread(call, live, owned)
        self._add(call, made)
        return out

    def _unread(self, call: Call, live: list[Tensor], owned: list[Tensor]) -> Made:
        """An elementwise function that nobody described, or a refusal."""
        if owned:
            name = self._parameters[id(owned[0])].name
            raise call.refuse(f"the parameter {name} is used in {call.name}, which has no rule")
        (first, *rest) = live
        alone = not rest and len(self._tensors) == 1 and isinstance(call.out, Tensor)
        if alone and call.out.shape == first.shape and call.args and call.args[0] is first:
            with torch._C.DisableTorchFunction():

                def apply(z: Tensor) -> Tensor:
                    value: Tensor = call.function(z, *call.args[1:], **call.kwargs)
                    return value

                if is_elementwise(apply):
                    call.bound = {"input": first}
                    return activation_made(call, apply)
        raise call.refuse(reason_for(call.name))

    def _add(self, call: Call, made: Made) -> None:
        nodes = [self.node_of(t) for t in made.inputs]
        for i, tensor in enumerate(made.inputs):
            if nodes[i] is None:  # data that the reader entered: the last of its entries
                nodes[i] = self._entered(tensor)
        out = call.out
        if tuple(out.shape) != (self.batch, *made.layout.shape()):
            raise call.refuse(
                f"{call.name} gives the shape {tuple(out.shape)}, which does not keep the samples "
                "on the first axis and the rest as it is"
            )
        indices = tuple(n.index for n in nodes if n is not None)
        node = self._append(made.operation, indices, made.layout, made.law, made.origin)
        self._known[id(out)] = (out, out._version, node.index)

    def _entered(self, tensor: Tensor) -> Node:
        place = next(i for i, t in enumerate(self._tensors) if t is tensor)
        number = len(self.slots) - 1 - self.slots[::-1].index((self._count, place))
        return next(
            n for n in self.nodes if isinstance(n.operation, Entry) and n.operation.number == number
        )

    def _append(
        self, operation: Any, inputs: tuple[int, ...], layout: Layout, law: Law, origin: bool
    ) -> Node:
        index = len(self.nodes)
        of = [self.nodes[i] for i in inputs]
        ancestors = frozenset({index}).union(*(n.ancestors for n in of))
        sources = frozenset({index}) if origin else frozenset().union(*(n.sources for n in of))
        node = Node(index, operation, inputs, layout, law, self.where(), sources, ancestors)
        self.nodes.append(node)
        return node

    def finish(self, output: Any) -> Graph:
        """The graph behind ``output``, with what is wanted of each node."""
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the model must return a tensor, got {type(output).__name__}; wrap it in a module "
                "that returns the one whose kernel is wanted"
            )
        last = self.node_of(output)
        if last is None:
            raise ValueError("the model's output does not depend on its weights")
        needed: set[int] = set()
        pairs: set[int] = set()
        needed.add(last.index)
        for node in reversed(self.nodes):
            if node.index not in needed:
                continue
            needed |= set(node.inputs)
            if node.operation.mixes or (node.index in pairs and not node.operation.flattens):
                pairs |= set(node.inputs)
        nodes = tuple(
            dataclasses.replace(n, pairs=n.index in pairs and bool(n.layout.positions))
            for n in self.nodes
        )
        return Graph(nodes, last.index, frozenset(needed))


def _may_be_activation(module: nn.Module) -> bool:
    own = not type(module).__module__.startswith("torch.nn.")
    state = any(True for _ in module.parameters()) or any(True for _ in module.buffers())
    return own and not state and not any(True for _ in module.children())
