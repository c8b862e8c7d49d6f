"""A function of (params, X) as a subject, its parameters in dicts and lists."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ntkscope.kernels.module.reading.interface import Interface
from ntkscope.kernels.module.reading.parameters import refuse_hooks, with_entries
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Pass, Runs, Subject


@dataclass(frozen=True, eq=False)
class FunctionRuns(Runs):
    """``template``: params with names in place of tensors. Values: copies, by name."""

    title: str
    function: Callable[..., Any]
    template: Any
    differentiated: Parameters
    fixed: Parameters
    interface: Interface

    def at(self, parameters: Parameters, inputs: Inputs) -> Any:
        X: Any = self.interface.named(inputs) or (inputs[0] if len(inputs) == 1 else inputs)
        return self.function(_unflatten(self.template, parameters), X)

    @contextmanager
    def own(self) -> Iterator[tuple[Parameters, Pass]]:
        own = self.differentiated.items()
        leaves = {name: t.detach().clone().requires_grad_() for name, t in own}
        yield leaves, lambda inputs: self.at({**self.fixed, **leaves}, inputs)

    @property
    def unused(self) -> str:
        return (
            f"the function {self.title} does not use its params; call "
            "torch.func.functional_call(model, params, (X,)) in it"
        )


def of_function(function: Callable[..., Any], params: Any, interface: Interface) -> Subject:
    """``params``: tensors in dicts and lists. Raises TypeError or ValueError."""
    title = getattr(function, "__name__", type(function).__name__)
    _require_two_arguments(function, title)
    if params is None:
        raise TypeError(
            f"{title} is a function of (params, X): give its parameters, "
            "empirical_ntk(f, X, params=...), as tensors in a dict, a list or nested ones"
        )
    leaves: Parameters = {}
    template = _flatten(params, "", leaves)
    refuse_hooks(leaves)
    values = {name: t.detach().clone() for name, t in leaves.items()}
    chosen = [n for n, t in values.items() if t.is_floating_point() or t.is_complex()]
    if not chosen:
        raise ValueError(f"params of {title} hold no floating-point tensors to differentiate")
    differentiated = {n: values[n] for n in with_entries(chosen, values)}
    fixed = {n: t for n, t in values.items() if n not in differentiated}

    runs = FunctionRuns(title, function, template, differentiated, fixed, interface)
    return Subject(title, runs, differentiated, fixed, interface)


def _require_two_arguments(function: Callable[..., Any], title: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # built in: the first pass will tell
        return
    try:
        signature.bind("params", "X")
    except TypeError as error:
        raise TypeError(
            f"{title}{signature} is not a function of (params, X) ({error}); give the nn.Module "
            "itself, or lambda params, X: torch.func.functional_call(model, params, (X,)) with "
            "params=dict(model.named_parameters())"
        ) from None


def _flatten(tree: Any, path: str, leaves: Parameters) -> Any:
    """The tree with names in place of its tensors, which are put into ``leaves``."""
    if isinstance(tree, Tensor):
        name = path or "params"
        leaves[name] = tree
        return name
    prefix = f"{path}." if path else ""
    if isinstance(tree, Mapping):
        return {key: _flatten(value, f"{prefix}{key}", leaves) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        flat = [_flatten(value, f"{prefix}{i}", leaves) for i, value in enumerate(tree)]
        return flat if isinstance(tree, list) else tuple(flat)
    raise TypeError(
        f"params must be tensors in dicts and lists, got {type(tree).__name__} at {path or 'the top'}"
    )


def _unflatten(template: Any, values: Parameters) -> Any:
    if isinstance(template, str):
        return values[template]
    if isinstance(template, dict):
        return {key: _unflatten(value, values) for key, value in template.items()}
    parts = [_unflatten(value, values) for value in template]
    return parts if isinstance(template, list) else tuple(parts)
