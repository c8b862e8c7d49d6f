"""A module that holds given values in its own parameters, so that plain autograd is its user's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CHANGES = (
    "the forward pass changes the buffer {!r}, so the outputs depend on what was evaluated before; "
    "call model.eval(), and switch observers off (model.apply(torch.ao.quantization.disable_observer))"
)

MOVES = (
    "the forward pass puts other values into the parameter {!r}, so the network is another one at each "
    "pass; use what it computes without keeping it there"
)

Place = tuple[Any, str, Tensor]  # a module's dict of tensors, the key, and what is there


@contextmanager
def installed(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    wanted: Collection[str],
) -> Iterator[tuple[dict[str, Tensor], Callable[..., Any]]]:
    """The module's parameters by name and its pass; ``wanted`` require gradients, no others do.

    The parameters are the module's own objects, so a closure over them, or a backward pass that
    runs the module again, meets the same ones; go backward inside. All is put back at the end.
    Raises ValueError where the pass writes to a buffer, or exchanges a parameter for another.
    """
    places = _places(module)
    own = _named(module, [*parameters, *buffers])
    before: list[tuple[Tensor, Tensor, bool]] = []
    versions: dict[str, int] = {}
    try:
        for name, value in (*parameters.items(), *buffers.items()):
            held = value if name in parameters else value.clone()
            tensor = own[name]
            if tensor.is_inference() or not tensor.is_leaf:  # no graph of ours may hold it
                own[name] = _replaced(places, tensor, held, name in parameters)
            else:
                before.append((tensor, tensor.data, tensor.requires_grad))
                tensor.data = held
            _require_grad(own[name], name in wanted)
        versions = {name: own[name]._version for name in buffers}
        working = _places(module)
        memory = {name: _memory(own[name]) for name in parameters}

        def run(*inputs: Any, **named: Any) -> Any:
            try:
                outputs = module(*inputs, **named)
                moved = _moved(working, own, memory)
                there = _named(module, moved)
                for name in moved:
                    if not same(there[name], parameters[name]):
                        raise ValueError(MOVES.format(name))
            finally:  # as another pass would find them
                _put_back(working)
            for name, version in versions.items():
                if own[name]._version != version and not same(own[name], buffers[name]):
                    raise ValueError(CHANGES.format(name))
            return outputs

        yield {name: own[name] for name in parameters}, run
        for name in versions:  # some write past the version counter
            if not same(own[name], buffers[name]):
                raise ValueError(CHANGES.format(name))
    finally:
        for tensor, data, required in reversed(before):
            tensor.data = data
            _require_grad(tensor, required)
        _put_back(places)


@contextmanager
def substituted(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """The module with other tensors in place of those named, for torch.func.

    ``torch.func.functional_call`` leaves them in a module that is registered twice.
    """
    places = _places(module)
    news = {id(there): values[name] for name, there in _named(module, [*values]).items()}
    try:
        for held, key, tensor in places:
            if id(tensor) in news:
                held[key] = news[id(tensor)]
        yield
    finally:
        _put_back(places)


def _named(module: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"the model has no {missing[0]!r} any more, which it had when its kernel was made; make "
            "the kernel again"
        )
    return {name: found[name] for name in names}


def _places(module: nn.Module) -> list[Place]:
    return [
        (held, key, tensor)
        for part in module.modules()
        for held in (part._parameters, part._buffers)
        for key, tensor in held.items()
        if tensor is not None
    ]


def _moved(places: list[Place], own: Mapping[str, Tensor], memory: Mapping[str, int]) -> list[str]:
    """The parameters that are other objects than they were, or lie in other memory."""
    there = {id(tensor): _held(held, key) for held, key, tensor in places}
    now = {name: there.get(id(own[name]), own[name]) for name in memory}
    return [n for n, t in now.items() if t is not own[n] or _memory(t) != memory[n]]


def _memory(tensor: Tensor) -> int:
    return tensor.data_ptr() if tensor.layout == torch.strided else 0


def _put_back(places: list[Place]) -> None:
    for held, key, tensor in places:
        if _held(held, key) is not tensor:
            held[key] = tensor


def _held(held: Any, key: str) -> Any:
    return held[key] if key in held else None  # noqa: SIM401  # a scripted part's dict has no get


def _replaced(places: list[Place], tensor: Tensor, value: Tensor, parameter: bool) -> Tensor:
    fresh = value.detach().clone()
    new: Tensor = nn.Parameter(fresh, requires_grad=False) if parameter else fresh
    for held, key, there in places:
        if there is tensor:
            held[key] = new
    return new


def _require_grad(tensor: Tensor, required: bool) -> None:
    if tensor.requires_grad != required:
        tensor.requires_grad_(required)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of any layout hold the same entries; a NaN is the same as another."""
    left, right = _arrays(a), _arrays(b)
    return a.layout == b.layout and len(left) == len(right) and all(map(_equal, left, right))


def _arrays(tensor: Tensor) -> list[Tensor]:
    """What holds the entries, and says where they lie."""
    if tensor.is_nested:
        return list(tensor.unbind())
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor]


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return torch.equal(a, b) or bool(((a == b) | ((a != a) & (b != b))).all())
