"""A sweep's settings, as a TOML file or a Python dict holds them, and the trials they stand for."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ntkscope._base.extras import needs
from ntkscope._base.specs import unknown
from ntkscope.experiments.design.expressions import Value, evaluate, fill
from ntkscope.experiments.measures.registry import measure_of
from ntkscope.experiments.running.trial import Trial, canonical

with needs("sweep"):
    import pydantic

_MOST = 5_000_000  # trials: beyond it the client's own bookkeeping is the problem


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Range(_Strict):
    """``{start, stop, num}`` with ``spacing = "linear"`` or ``"log"``, or ``{start, stop, step}``.

    Both ends are included; values are whole numbers when start and stop are.
    """

    start: float
    stop: float
    num: int | None = None
    step: float | None = None
    spacing: Literal["linear", "log"] = "linear"

    def values(self) -> list[int | float]:
        if (self.num is None) == (self.step is None):
            raise ValueError("a range takes either num or step")
        if self.step is not None:
            if self.step <= 0 or self.stop < self.start:
                raise ValueError(f"a range with step must rise, got {self.model_dump()}")
            count = math.floor((self.stop - self.start) / self.step + 1e-9) + 1
            raw = [self.start + i * self.step for i in range(count)]
        else:
            raw = self._spaced(int(self.num or 0))
        whole = self.start == int(self.start) and self.stop == int(self.stop)
        if whole and (self.step is None or self.step == int(self.step)):
            return list(dict.fromkeys(round(v) for v in raw))
        return list(dict.fromkeys(raw))

    def _spaced(self, num: int) -> list[float]:
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        if num == 1:
            return [self.start]
        share = [i / (num - 1) for i in range(num)]
        if self.spacing == "linear":
            return [self.start + s * (self.stop - self.start) for s in share]
        if self.start <= 0 or self.stop <= 0:
            raise ValueError("a range with spacing = 'log' needs positive ends")
        return [self.start * (self.stop / self.start) ** s for s in share]


class NetworkSettings(_Strict):
    """The arguments of Network.

    A width may be an expression in the grid's variables, ``"8*N"``, and ``"n x L-1"`` stands for
    L − 1 layers of width n.
    """

    widths: list[int | str]
    activation: str = "relu"
    init: str | list[float | str] = "he"
    parameterization: str = "standard"
    weights: str = "gaussian"
    bias_std: float | None = None
    residual: float = 0.0


class PlotSettings(_Strict):
    """What ``sweep plot`` draws: the mean of ``y`` over ``x``, a curve for each value of ``by``."""

    x: str
    y: str = "lambda_min"
    by: str | None = None
    log: bool = False


class FitSettings(_Strict):
    """A power law y ∝ x^exponent to fit; ``expected`` is the exponent that a theorem claims."""

    x: str
    y: str = "lambda_min"
    by: str | None = None
    expected: float | None = None


class Settings(_Strict):
    """A sweep: a grid or a list of points × seeds, and what to measure at each.

    name: names the sweep and its folder. measure: quantities of the kernel (``"lambda_min"``, …),
    ``"final_loss"``, ``"check:nguyen2021.theorem-4.1"`` (a statement's scalings), or
    ``"package.module:function"`` of your own. seeds: trials a point.
    grid: variable → values or range; points: a list of points instead, or besides (each point is
    then combined with the grid). define: variables computed from others. where: a point stays
    when this expression is positive.
    """

    name: str
    measure: str | list[str] = "lambda_min"
    seeds: int = 10
    grid: dict[str, list[int | float | str] | Range] = {}
    points: list[dict[str, int | float | str]] = []
    define: dict[str, str] = {}
    where: str | None = None
    network: NetworkSettings | None = None
    data: str | None = None
    center: bool = False
    scale: bool = False
    training: dict[str, int | float | str] = {}
    arguments: dict[str, Any] = {}
    threads: int | None = None
    batch: int | None = None
    plot: PlotSettings | None = None
    fit: list[FitSettings] = []

    @pydantic.field_validator("seeds")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError("seeds is the number of trials a point, at least 1")
        return value


def read_settings(source: Path | dict[str, Any]) -> Settings:
    """Settings from a TOML file or a dict.

    Raises ValueError naming each field that is wrong, FileNotFoundError for a missing file.
    """
    values: Any = source
    if isinstance(source, Path):
        if not source.exists():
            raise FileNotFoundError(f"no settings file {str(source)!r}")
        try:
            values = tomllib.loads(source.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{str(source)!r} is not TOML: {error}") from None
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        problems = "; ".join(_problem(e) for e in error.errors())
        where = f"{str(source)!r}: " if isinstance(source, Path) else ""
        raise ValueError(f"{where}{problems}") from None


_PARTS: dict[str, type[_Strict]] = {
    "network": NetworkSettings,
    "plot": PlotSettings,
    "fit": FitSettings,
}


def _problem(error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        inside = _PARTS.get(place[0], Settings) if len(place) > 1 else Settings
        return unknown("setting", ".".join(place), inside.model_fields)
    return f"{'.'.join(place)}: {error['msg']}, got {error['input']!r}"


def expand(settings: Settings) -> list[Trial]:
    """Every trial, points in the grid's order and seeds 0, 1, … within a point.

    Raises ValueError for a point that cannot run, naming it.
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
        try:
            plain = _trial_settings(settings, point)
            measure_of(plain).check(plain)
        except (ValueError, TypeError) as error:
            where = ", ".join(f"{k}={v}" for k, v in point.items())
            raise type(error)(f"at {where or 'the only point'}: {error}") from None
        text, coordinates = canonical(plain), tuple(point.items())
        trials += [Trial(text, seed, coordinates) for seed in range(settings.seeds)]
    return trials


def _points(settings: Settings) -> Iterator[dict[str, Value]]:
    axes: list[Sequence[Value]] = []
    for name, values in settings.grid.items():
        if not name.isidentifier():
            raise ValueError(f"grid variables are names such as d or n_1, got {name!r}")
        try:
            axes.append(values.values() if isinstance(values, Range) else values)
        except ValueError as error:
            raise ValueError(f"grid {name}: {error}") from None
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


def _trial_settings(settings: Settings, point: dict[str, Value]) -> dict[str, Any]:
    quantities = [settings.measure] if isinstance(settings.measure, str) else settings.measure
    extra: dict[str, Any] = {}
    if settings.threads is not None:
        extra["threads"] = settings.threads
    if settings.batch is not None:
        extra["batch"] = settings.batch
    if any(":" in q for q in quantities) and len(quantities) > 1:
        raise ValueError("a statement or a function of your own is the only measure of its sweep")
    if quantities[0].startswith("check:"):
        statement = quantities[0].removeprefix("check:")
        return {
            "measure": "statement",
            "statement": statement,
            **_instance(settings, point),
            **extra,
        }
    if ":" in quantities[0]:
        arguments = {k: _argument(v, point) for k, v in settings.arguments.items()}
        variables = {k: v for k, v in point.items() if k not in arguments}
        return {
            "measure": "call",
            "target": quantities[0],
            "arguments": {**variables, **arguments},
            **extra,
        }
    about = _instance(settings, point)
    if "final_loss" in quantities:
        if len(quantities) > 1:
            raise ValueError("final_loss is the only measure of its sweep: it trains the network")
        training = {k: _argument(v, point) for k, v in settings.training.items()}
        return {"measure": "training", **about, "training": training, **extra}
    return {"measure": "kernel", "quantities": quantities, **about, **extra}


def _instance(settings: Settings, point: dict[str, Value]) -> dict[str, Any]:
    if settings.network is None or settings.data is None:
        raise ValueError(
            'settings need [network] with widths and data, e.g. data = "gaussian:N=500,d={d}"'
        )
    network = settings.network.model_dump()
    network["widths"] = [n for w in settings.network.widths for n in _widths(w, point)]
    for name in ("activation", "init", "parameterization", "weights"):
        network[name] = _argument(network[name], point)
    about: dict[str, Any] = {"network": network, "data": fill(settings.data, point)}
    if settings.center:
        about["center"] = True
    if settings.scale:
        about["scale"] = True
    return about


def _widths(width: int | str, point: dict[str, Value]) -> list[int]:
    if isinstance(width, int):
        return [width]
    size, _, times = width.partition(" x ")
    return [_whole(size, point)] * (_whole(times, point) if times else 1)


def _whole(text: str, point: dict[str, Value]) -> int:
    value = evaluate(text, point)
    if isinstance(value, str) or value != int(value):
        raise ValueError(f"width {text!r} is {value!r}, no whole number; use floor(…)")
    return int(value)


def _argument(value: Any, point: dict[str, Value]) -> Any:
    if isinstance(value, list):
        return [_argument(v, point) for v in value]
    if not isinstance(value, str):
        return value
    if value.startswith("{") and value.endswith("}") and value.count("{") == 1:
        return evaluate(value[1:-1], point)
    return fill(value, point)
