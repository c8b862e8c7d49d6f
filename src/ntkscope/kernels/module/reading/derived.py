"""Tensors that follow from parameters alone: a normed weight, 1 + w, a bias made by a small network.

No sample changes them, so a layer that uses such a tensor W has ∂f/∂θ = Dᵀ ∂f/∂W with one D = ∂W/∂θ for
all samples. What makes W is kept as a function of the parameters, and Dᵀ is its vjp.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from operator import attrgetter
from types import GetSetDescriptorType
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.overrides import resolve_name
from torch.utils._pytree import tree_map

from ntkscope.kernels.module.reading.jacobian_norm import amplification
from ntkscope.kernels.module.reading.layers.layer import Operation


@dataclass(frozen=True, eq=False)
class Derived:
    """A parameter, or what ``func`` makes of such tensors; ``pick``: which of its results.

    key: the same in every pass that makes it likewise. names: the parameters behind it. version: of the
    tensor when it was made.
    """

    key: str
    names: tuple[str, ...]
    func: Callable[..., Any] | None = None
    args: Any = ()
    kwargs: Any = None
    pick: int | None = None
    version: int = 0

    @classmethod
    def of(cls, name: str) -> Derived:
        return cls(name, (name,))

    def at(self, values: Mapping[str, Tensor]) -> Tensor:
        """The tensor where the parameters are ``values``."""
        if self.func is None:
            return values[self.key]
        args, kwargs = tree_map(
            lambda part: part.at(values) if isinstance(part, Derived) else part,
            (self.args, self.kwargs),
        )
        made = self.func(*args, **kwargs)
        out: Tensor = made if self.pick is None else made[self.pick]
        return out


@dataclass
class Makings:
    """The calls of one pass that make a tensor of such tensors and constants.

    sources: by the tensors' ids, with the tensors, so that no other one takes an id. seen: calls of one
    function on the same sources so far.
    """

    sources: dict[int, tuple[Derived, Tensor]]
    seen: Counter[str] = field(default_factory=Counter)

    def of(
        self, func: Any, args: Any, kwargs: Any, out: Any, pick: int | None = None
    ) -> Derived | None:
        """The call's result; None where something else that has a gradient goes in, or it is in place."""
        tensors = list(_tensors_in((args, kwargs)))
        found = [self.sources[id(part)][0] for part in tensors if id(part) in self.sources]
        if not found or not isinstance(out, Tensor) or any(part is out for part in tensors):
            return None
        for part in tensors:
            source = self.sources.get(id(part))
            if part.requires_grad if source is None else part._version != source[0].version:
                return None
        stem = f"{resolve_name(func) or func}({','.join(each.key for each in found)})[{pick}]"
        self.seen[stem] += 1
        key = blake2b(f"{stem}#{self.seen[stem]}".encode(), digest_size=8).hexdigest()
        names = tuple(dict.fromkeys(name for each in found for name in each.names))
        attribute = getattr(func, "__self__", None)
        if isinstance(attribute, GetSetDescriptorType):  # Tensor.mT: one that can be pickled
            func = attrgetter(attribute.__name__)
        return Derived(key, names, func, pick=pick, version=out._version)

    def add(self, made: Derived, out: Tensor, args: Any, kwargs: Any) -> Derived:
        """Watch ``out``, which the call with these arguments ``made``."""
        held = tree_map(self._held, (args, kwargs))
        whole = replace(made, args=held[0], kwargs=held[1])
        self.sources[id(out)] = whole, out
        return whole

    def _held(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        source = self.sources.get(id(part))
        return part.detach() if source is None else source[0]


def _tensors_in(part: Any) -> Iterator[Tensor]:
    """As torch's own walk over nested arguments, which is slow at this."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, (tuple, list, dict)):
        for each in part.values() if isinstance(part, dict) else part:
            yield from _tensors_in(each)


def made_alike(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> frozenset[str]:
    """The calls that made the same of two different batches."""
    return frozenset(
        key
        for key, tensor in ours.items()
        if key in theirs and tensor.shape == theirs[key].shape and torch.equal(tensor, theirs[key])
    )


@dataclass(frozen=True)
class Through(Operation):
    """What ``operation`` does with a tensor, for the parameter ``name`` behind it."""

    operation: Operation
    key: str
    name: str
    derived: Derived = field(compare=False)
    values: Mapping[str, Tensor] = field(compare=False)
    heavy: bool = False
    whole = False

    @cached_property
    def _vjp(self) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """W, and Dᵀ."""
        values = {name: value.detach() for name, value in self.values.items()}
        run = lambda p: self.derived.at({**values, self.name: p})  # noqa: E731
        made, back = cast(Any, vjp)(run, values[self.name])  # its stub counts an aux
        return made.detach(), lambda g: back(g.reshape(made.shape))[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without the vjp, which cannot be pickled."""
        return {key: value for key, value in self.__dict__.items() if key != "_vjp"}

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        made = self.operation.gradient(x, g, slice(None))
        n, C = made.shape[:2]
        W, back = self._vjp
        with warnings.catch_warnings():  # vmap warns where it falls back on a loop of its own
            warnings.simplefilter("ignore")
            # where and as the parameters are, whatever x and g were converted to
            rows = vmap(back)(made.flatten(0, 1).to(W)).detach()
        pulled = rows.to(made).reshape(n, C, -1)
        if part == slice(None):
            return pulled
        shape = self.values[self.name].shape
        return pulled.reshape(n, C, shape[0] if shape else 1, -1)[:, :, part].flatten(2)

    def bound(self, x: Tensor) -> Operation:
        return replace(self, operation=self.operation.bound(x))

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        return self.operation.form(tensor, folded, output)

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        return self.operation.takes(x, out, axis)

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        own = self.operation.for_samples(ndim, axis, folded)
        return own and replace(self, operation=own)

    def beside(self, heavy: Operation) -> Operation:
        inside = heavy.operation if isinstance(heavy, Through) else heavy
        return replace(self, operation=self.operation.beside(inside))

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.operation.broadcast(shape)

    @property
    def _size(self) -> int:
        return self._vjp[0].numel()

    def forming_flops(self, g: Tensor, size: int) -> float:
        return self.operation.forming_flops(g, self._size) + 4.0 * g.shape[1] * (self._size + size)

    def scratch(self, g_size: int, parameter: tuple[int, ...]) -> int:
        return 2 * self._size + self.operation.scratch(g_size, parameter)

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """The operation's, times what D may make of an error."""
        return self.operation.magnitude(x, g) * self._amplification

    @cached_property
    def _amplification(self) -> float:
        """At least ‖ |D| ‖₂, times |W|/P where W has more entries: sums are as long."""
        (W, back), size = self._vjp, self.values[self.name].numel()
        return amplification(W, back, size) * max(1.0, W.numel() / size)
