"""How torch functions are read as operations: the registry, and what a reader sees of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import Law, Layout, Node
from ntkscope.kernels.limiting.architectures.operation import Operation
from ntkscope.kernels.limiting.architectures.variances import Parameter


@dataclass(frozen=True)
class Made:
    """What a call does, in terms of tensors that are nodes.

    origin: whether its channels are of their own kind, and no sum or rescaling of the inputs'.
    """

    operation: Operation
    inputs: tuple[Tensor, ...]
    layout: Layout
    law: Law
    origin: bool = False


@runtime_checkable
class Recorder(Protocol):
    """What the pass knows."""

    ntk: bool

    def node_of(self, tensor: Tensor) -> Node | None: ...
    def enter(self, tensor: Tensor, layout: Layout) -> Node: ...
    def use(self, tensor: Tensor, where: str) -> Parameter | None: ...
    def is_entry(self, tensor: Tensor) -> bool: ...
    def node(self, index: int) -> Node: ...


@dataclass
class Call:
    """One call of a torch function: arguments by name (``call["weight"]``), and what it gave."""

    name: str
    where: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    recorder: Recorder
    bound: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.bound[key]

    @property
    def ntk(self) -> bool:
        """Whether the "ntk" parameterization is asked for."""
        return self.recorder.ntk

    def refuse(self, reason: str) -> ValueError:
        """The error that says which module has no limit, and why."""
        return ValueError(f"{self.where} has no infinite-width limit here: {reason}")

    def node(self, tensor: Any) -> Node | None:
        """The node whose values a tensor holds; None for data and constants."""
        return self.recorder.node_of(tensor) if isinstance(tensor, Tensor) else None

    def is_entry(self, tensor: Tensor) -> bool:
        return self.recorder.is_entry(tensor)

    def enter(self, tensor: Tensor, channel_axis: int) -> Node:
        """A tensor's node, made of data where it has none yet."""
        found = self.node(tensor)
        if found is not None:
            return found
        if tensor.ndim < 2:
            raise self.refuse(f"its input has shape {tuple(tensor.shape)}, without a channel axis")
        axis = channel_axis - 1 if channel_axis > 0 else channel_axis
        return self.recorder.enter(tensor, Layout.of(tuple(tensor.shape[1:]), axis))

    def enter_as(self, tensor: Tensor, layout: Layout) -> Node:
        """The same in a known layout."""
        return self.node(tensor) or self.recorder.enter(tensor, layout)

    def parameter(self, tensor: Any) -> Parameter | None:
        """The parameter that a tensor is. Raises ValueError where it has been used before."""
        if not isinstance(tensor, Tensor):
            return None
        return self.recorder.use(tensor, self.where)

    def origins(self, node: Node) -> list[Node]:
        """The nodes whose values ``node`` sums."""
        return [self.recorder.node(i) for i in node.sources]


Reader = Callable[[Call], Made]


@dataclass(frozen=True)
class Reading:
    """A reader and the signature that binds a call's arguments for it."""

    read: Reader
    names: tuple[str, ...]
    defaults: dict[str, Any]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**self.defaults, **dict(zip(self.names, args, strict=False)), **kwargs}


READINGS: dict[Any, Reading] = {}


def reads(
    *functions: Any, names: str = "input", defaults: dict[str, Any] | None = None
) -> Callable[[Reader], Reader]:
    """Register a reader for torch functions with the arguments ``names``."""

    def register(reader: Reader) -> Reader:
        for function in functions:
            READINGS[function] = Reading(reader, tuple(names.split()), defaults or {})
        return reader

    return register


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor among arguments, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
