"""The trials that a sweep's settings stand for: points of the grid × seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from ntkscope.experiments.design.expressions import Value, evaluate, fill
from ntkscope.experiments.design.settings import Range, SweepSettings
from ntkscope.experiments.design.trial import Trial, at_point, canonical

_DEEPEST = 10_000  # layers of one network
INFINITE = ("inf", "∞")
_MOST = 5_000_000  # trials: beyond it the client's own bookkeeping is the problem


def expand(settings: SweepSettings) -> list[Trial]:
    """Every trial, points in the grid's order and seeds 0, 1, … within a point.

    Raises ValueError for a point whose expressions have no value, naming it. Whether a measure can
    take it is :func:`ntkscope.experiments.measures.registry.check`'s to say.
    """
    points = list(_points(settings))
    if not points:
        raise ValueError(
            f"the sweep {settings.name!r} has no points; check its grid and its `where`"
        )
    if len(points) * settings.seeds > _MOST:
        raise ValueError(
            f"{len(points)} points × {settings.seeds} seeds are more than {_MOST} trials; "
            "split the sweep"
        )
    trials = []
    for point in points:
        with at_point(point):
            text = canonical(_trial_settings(settings, point))
        coordinates = tuple(point.items())
        trials += [Trial(text, seed, coordinates) for seed in range(settings.seeds)]
    return trials


def _points(settings: SweepSettings) -> Iterator[dict[str, Value]]:
    axes: list[Sequence[Value]] = []
    for name, values in settings.grid.items():
        if not name.isidentifier():
            raise ValueError(f"grid variables are names such as d or n_1, got {name!r}")
        try:
            axes.append(values.values() if isinstance(values, Range) else values)
        except ValueError as error:
            raise ValueError(f"grid {name}: {error}") from None
    size = len(settings.points or [{}]) * math.prod(map(len, axes))
    if size > _MOST:
        raise ValueError(f"the grid has {size} points, more than {_MOST}; split the sweep")
    seen = set()
    for base in settings.points or [{}]:
        for combination in itertools.product(*axes):
            point: dict[str, Value] = {**base, **dict(zip(settings.grid, combination, strict=True))}
            for name, text in settings.define.items():
                point[name] = evaluate(text, point)
            key = tuple(point.items())
            kept = settings.where is None or _positive(settings.where, point)
            if kept and key not in seen:
                seen.add(key)
                yield point


def _positive(text: str, point: dict[str, Value]) -> bool:
    value = evaluate(text, point)
    if isinstance(value, str):
        raise ValueError(f"`where` must give a number, got {value!r} from {text!r}")
    return value > 0


def _trial_settings(settings: SweepSettings, point: dict[str, Value]) -> dict[str, Any]:
    """What a measure reads; a change here gives the trials other keys."""
    asked = [settings.measure] if isinstance(settings.measure, str) else settings.measure
    own = {"threads": settings.threads, "batch": settings.batch}
    extra = {name: value for name, value in own.items() if value is not None}
    if any(":" in name for name in asked) and len(asked) > 1:
        raise ValueError("a statement or a function of your own is the only measure of its sweep")
    if asked[0].startswith("check:"):
        about: dict[str, Any] = {
            "measure": "statement",
            "statement": asked[0].removeprefix("check:"),
        }
        return {**about, **_instance(settings, point), **extra}
    if ":" in asked[0]:
        arguments = {**point, **_filled(settings.arguments, point)}
        return {"measure": "call", "target": asked[0], "arguments": arguments, **extra}
    if "final_loss" in asked:
        if len(asked) > 1:
            raise ValueError("final_loss is the only measure of its sweep: it trains the network")
        about = {"measure": "training", "training": _filled(settings.training, point)}
    else:
        about = {"measure": "kernel", "quantities": asked}
    return {**about, **_instance(settings, point), **extra}


def _instance(settings: SweepSettings, point: dict[str, Value]) -> dict[str, Any]:
    if settings.network is None or settings.data is None:
        raise ValueError(
            'settings need [network] with widths and data, e.g. data = "gaussian:N=500,d={d}"'
        )
    network = settings.network.model_dump()
    network["widths"] = [n for w in settings.network.widths for n in _widths(w, point)]
    for name in ("activation", "init", "parameterization", "weights"):
        network[name] = _filled(network[name], point)
    about: dict[str, Any] = {"network": network, "data": fill(settings.data, point)}
    return about | {name: True for name in ("center", "scale") if getattr(settings, name)}


def _widths(width: int | float | str, point: dict[str, Value]) -> list[int | str]:
    if isinstance(width, int):
        return [width]
    size, _, times = str(width).partition(" x ")
    depth = _whole(times, point) if times else 1
    if not 0 <= depth <= _DEEPEST:
        raise ValueError(f"a network has at most {_DEEPEST} layers, {width!r} asks for {depth}")
    # as a text: JSON has no infinity
    return ["inf" if size.strip() in INFINITE else _whole(size, point)] * depth


def _whole(text: str, point: dict[str, Value]) -> int:
    value = evaluate(text, point)
    if isinstance(value, str) or not math.isfinite(value) or value != int(value):
        raise ValueError(f"width {text!r} is {value!r}, no whole number; use floor(…)")
    return int(value)


def _filled(value: Any, point: dict[str, Value]) -> Any:
    """``value`` with its expressions replaced; one that is all of a text keeps its type."""
    if isinstance(value, dict):
        return {name: _filled(part, point) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, point) for part in value]
    if not isinstance(value, str):
        return value
    if value.startswith("{") and value.endswith("}") and value.count("{") == 1:
        return evaluate(value[1:-1], point)
    return fill(value, point)
