"""What a tensor's autograd graph leads back to, and when it was made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def source_of(tensor: Tensor, parameters: Mapping[str, Tensor]) -> str:
    """The name of a parameter that ``tensor`` was computed from, or nothing."""
    names = {id(p): name for name, p in parameters.items()}
    leaves = (id(getattr(node, "variable", None)) for node in _nodes([tensor.grad_fn]))
    return next((names[leaf] for leaf in leaves if leaf in names), "")


def now() -> int:
    """Nodes that this thread makes later have larger numbers."""
    mark: Any = torch.ones((), requires_grad=True).exp().grad_fn
    number: int = mark._sequence_nr()
    return number


def require_fresh(
    output: Tensor, leaves: Mapping[str, Tensor], began: int, again: Callable[[], Tensor]
) -> None:
    """Raises ValueError where ``output`` leads to a leaf through what was computed before ``began``.

    One pass back frees what that needs, so a second one fails. A view needs nothing. ``again``: the
    output of another pass, which such nodes are in too; those of other threads have numbers of their own.
    """
    old = [node for node in _nodes([output.grad_fn]) if _saves(node, began)]
    if not old:
        return
    shared = {*_nodes([again().grad_fn])}
    kept = [node for node in old if node in shared]
    names = {id(leaf): name for name, leaf in leaves.items()}
    for node in _nodes(kept):
        name = names.get(id(getattr(node, "variable", None)))
        if name is not None:
            raise ValueError(
                f"the forward pass uses a tensor that was computed from parameter {name!r} before it "
                f"({kept[0].name()}), in __init__ or in an earlier pass, and gradients go through that "
                "once only; compute it in each pass, or keep it detached"
            )


def _saves(node: Any, began: int) -> bool:
    """Whether it is older, and holds tensors for the pass back."""
    older = not hasattr(node, "variable") and node._sequence_nr() < began
    return older and any(each.startswith("_raw_saved_") for each in dir(node))


def _nodes(roots: Collection[Any]) -> Iterator[Any]:
    """The nodes of the graph from ``roots``, each once."""
    stack, seen = [*roots], {*roots}
    while stack:
        node = stack.pop()
        if node is None:
            continue
        yield node
        fresh = {before for before, _ in node.next_functions} - seen
        seen |= fresh
        stack += fresh
