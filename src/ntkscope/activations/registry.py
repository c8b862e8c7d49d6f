"""Names of activations → what makes them. A file of this folder registers its own members."""

from __future__ import annotations

import copyreg
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from ntkscope._base.registry import Registry
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.activations.activation import Activation
from ntkscope.activations.custom import custom

_FACTORIES: Registry[Callable[..., Activation]] = Registry("activation")
_made: dict[str, Activation] = {}


def register_activation(name: str, factory: Callable[..., Activation]) -> None:
    """Make ``name`` an activation wherever one is named: in Python, TOML and on the command line.

    Parameters
    ----------
    name: without options, e.g. ``"swish"``.
    factory: makes the activation; its arguments, numbers with defaults, become the options of
        ``"swish:beta=2"``.

    Raises
    ------
    ValueError
        For a name that is taken or that no settings file could hold.
    """
    _FACTORIES.add(name, factory)


def names() -> tuple[str, ...]:
    """The registered names."""
    return _FACTORIES.names()


def activation(spec: str | Activation | Callable[[Any], Any]) -> Activation:
    """The activation of a name (``"relu"``, ``"leaky_relu:alpha=0.2"``) or of a callable.

    A callable maps a tensor to a tensor of the same shape; its derivatives come from autograd and
    its constants are unknown (use :func:`custom` to state them).

    Parameters
    ----------
    spec: a name with options, an :class:`Activation` or a callable.

    Returns
    -------
    Activation of that name or callable.

    Raises ValueError for an unknown name or option, TypeError for anything else.
    """
    if isinstance(spec, Activation):
        return spec
    if callable(spec):
        return custom(spec)
    if not isinstance(spec, str):
        raise TypeError(
            f"activation must be a name, an Activation or a callable, got {type(spec).__name__}"
        )
    parsed = parse_spec(spec)
    if str(parsed) not in _made:
        _made[str(parsed)] = _from_spec(parsed)
    return _made[str(parsed)]


def _from_spec(spec: Spec) -> Activation:
    factory = _FACTORIES.get(spec.name)
    reject_unknown_options("activation", spec, inspect.signature(factory).parameters)
    if spec.positional:
        raise ValueError(
            f"activation options are written name:key=value, got {', '.join(spec.positional)!r}"
        )
    numbers = {}
    for key, value in spec.options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"activation {spec.name!r}: {key} must be a number, got {value!r}")
        numbers[key] = float(value)
    made = factory(**numbers)
    own = made.name.partition(":")[0] == spec.name
    # by its registered name it can be made again, so it is nobody's private function
    return dataclasses.replace(made, name=made.name if own else str(spec), custom=False)


def _reduce(phi: Activation) -> Any:
    """An activation of a registered name is pickled by it: its closed forms may be closures."""
    registered = not phi.custom and phi.name.partition(":")[0] in names()
    return (activation, (phi.name,)) if registered else object.__reduce_ex__(phi, 2)


copyreg.pickle(Activation, _reduce)
