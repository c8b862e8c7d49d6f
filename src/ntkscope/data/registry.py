"""Distributions by name: ``gaussian:d=100``, in Python, TOML and on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from ntkscope._base.registry import Registry
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.data.distribution import Distribution
from ntkscope.data.distributions import (
    BinaryCube,
    Circle,
    Cube,
    EquispacedCircle,
    Gaussian,
    GeneratedImage,
    Sphere,
)

Factory = Callable[..., Distribution]

_LAWS: Registry[Factory] = Registry("distribution")
_DRAWING = ("N", "seed")  # options of a sample and not of the law


def register_distribution(name: str, factory: Factory) -> None:
    """Make ``name`` a law of data wherever one is named: in Python, TOML and on the command line.

    Parameters
    ----------
    name: without options, e.g. ``"ball"``.
    factory: makes the :class:`Distribution`, a class of one as a rule. Its argument ``dim`` is the
        option ``d``; a default makes ``d`` optional. Its other arguments become options of the same
        names.

    Raises
    ------
    ValueError
        For a name that is taken or that no settings file could hold.
    """
    _LAWS.add(name, factory)


def names() -> tuple[str, ...]:
    """The registered names."""
    return _LAWS.names()


def fixed_dim(name: str) -> int | None:
    """The d of a law that has one d only, such as the circle; None where d is an option.

    Raises ValueError for an unknown name.
    """
    factory = _LAWS.get(name)
    free = inspect.signature(factory).parameters["dim"].default is inspect.Parameter.empty
    return None if free else factory().dim


def distribution(spec: str | Spec, dim: int | None = None) -> Distribution:
    """The distribution of ``"gaussian:d=100"`` and its kin, without sampling it.

    ``dim`` stands in where the description names no d. Raises ValueError for an unknown name or
    option, a missing d, or one that is not ``dim``.

    Parameters
    ----------
    spec: a name with options.
    dim: d, where the name gives none.

    Returns
    -------
    Distribution of that name.
    """
    parsed = parse_spec(spec) if isinstance(spec, str) else spec
    factory = _LAWS.get(parsed.name)
    parameters = inspect.signature(factory).parameters
    needs_dim = fixed_dim(parsed.name) is None
    known = [name for name in parameters if name != "dim"]
    reject_unknown_options("data", parsed, (*_DRAWING, *(("d",) if needs_dim else ()), *known))
    if parsed.positional:
        raise ValueError(f"write {parsed.name}:N=…,d=…, got {','.join(parsed.positional)!r}")
    options = {key: value for key, value in parsed.options.items() if key not in _DRAWING}
    for key, value in options.items():
        is_switch = key in parameters and isinstance(parameters[key].default, bool)
        if is_switch and not isinstance(value, bool):
            raise ValueError(f"data {parsed.name!r}: {key} is true or false, got {value!r}")
    given = options.pop("d", dim) if needs_dim else dim
    if needs_dim:
        if given is None:
            raise ValueError(f"data {parsed.name!r} needs d, e.g. {parsed.name}:N=1000,d=100")
        options["dim"] = given
    law = factory(**options)
    if dim is not None and law.dim != dim:
        raise ValueError(f"data {str(parsed)!r} has d = {law.dim}, the network {dim} inputs")
    return law


for _name, _factory in {
    "gaussian": Gaussian,
    "sphere": Sphere,
    "cube": Cube,
    "binary": BinaryCube,
    "generated": GeneratedImage,
    "circle": Circle,
    "equispaced": EquispacedCircle,
}.items():
    register_distribution(_name, _factory)
