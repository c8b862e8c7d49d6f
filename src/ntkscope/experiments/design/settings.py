"""A sweep's settings, as a TOML file or a Python dict holds them."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ntkscope._base.extras import needs
from ntkscope._base.specs import unknown

with needs("sweep"):
    import pydantic


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


_MOST_VALUES = 1_000_000  # of one grid variable
_MOST_THREADS = max(64, os.cpu_count() or 1)
_MOST_TOGETHER = 100_000  # seeds of a block

Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Range(_Strict):
    """``{start, stop, num}`` with ``spacing = "linear"`` or ``"log"``, or ``{start, stop, step}``.

    Both ends are included; values are whole numbers when start and stop are.
    """

    start: Finite
    stop: Finite
    num: int | None = None
    step: Finite | None = None
    spacing: Literal["linear", "log"] = "linear"

    def values(self) -> list[int | float]:
        if (self.num is None) == (self.step is None):
            raise ValueError("a range takes either num or step")
        if self.step is not None:
            if self.step <= 0 or self.stop < self.start:
                raise ValueError(f"a range with step must rise, got {self.model_dump()}")
            steps = (self.stop - self.start) / self.step + 1e-9
            if not steps < _MOST_VALUES:
                raise ValueError(f"a range has at most {_MOST_VALUES} values, this one {steps:.3g}")
            count = math.floor(steps) + 1
            raw = [self.start + i * self.step for i in range(count)]
        else:
            raw = self._spaced(int(self.num or 0))
        whole = self.start == int(self.start) and self.stop == int(self.stop)
        if whole and (self.step is None or self.step == int(self.step)):
            return list(dict.fromkeys(round(v) for v in raw))
        return list(dict.fromkeys(raw))

    def _spaced(self, num: int) -> list[float]:
        if not 1 <= num <= _MOST_VALUES:
            raise ValueError(f"num must be within 1 … {_MOST_VALUES}, got {num}")
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
    L − 1 layers of width n. ``"inf"`` in the hidden layers asks for the limiting kernel.
    """

    widths: list[int | float | str]
    activation: str = "relu"
    init: str | list[float | str] = "he"
    parameterization: str = "standard"
    weights: str = "gaussian"
    bias_std: float | None = None
    residual: float = 0.0


class _Curves(_Strict):
    """Columns, or expressions in them: ``y`` (one or several) over ``x``, a curve for each value of ``by``."""

    x: str
    y: str | Annotated[list[str], pydantic.Field(min_length=1)] = "lambda_min"
    by: str | None = None

    @property
    def ys(self) -> tuple[str, ...]:
        """Every y, each once."""
        return (self.y,) if isinstance(self.y, str) else tuple(dict.fromkeys(self.y))


class PlotSettings(_Curves):
    """What ``sweep plot`` draws: the means of ``y`` over ``x`` with a band of one standard deviation."""

    log: bool = False


class FitSettings(_Curves):
    """A law y = c · x^exponent to fit; ``expected`` is the exponent that a theorem claims, else 1."""

    expected: float | None = None


class SweepSettings(_Strict):
    """A sweep: a grid or a list of points × seeds, and what to measure at each.

    name: names the sweep and its folder. measure: quantities of the kernel (``"lambda_min"``, …),
    ``"final_loss"``, ``"check:nguyen2021.theorem-4.1"`` (a statement's scalings), or
    ``"package.module:function"`` of your own. seeds: trials a point.
    grid: variable → values or range; points: a list of points instead, or besides (each point is
    then combined with the grid). define: variables computed from others. where: a point stays
    when this expression is positive. plugin: files and modules with activations, initializations,
    laws of data, statements or quantities of your own; a file's place counts from the settings'.
    """

    name: Annotated[str, pydantic.Field(pattern=r"^[\w][\w .+-]*$")]
    measure: str | Annotated[list[str], pydantic.Field(min_length=1)] = "lambda_min"
    seeds: Annotated[int, pydantic.Field(ge=1)] = 10
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
    threads: Annotated[int, pydantic.Field(ge=1, le=_MOST_THREADS)] | None = None
    batch: Annotated[int, pydantic.Field(ge=1, le=_MOST_TOGETHER)] | None = None
    plugin: list[str] = []
    plot: PlotSettings | None = None
    fit: list[FitSettings] = []

    @pydantic.field_validator("grid")
    @classmethod
    def _finite(cls, grid: dict[str, Any]) -> dict[str, Any]:
        for name, values in grid.items():
            wrong = [v for v in values if _unbounded(v)] if isinstance(values, list) else []
            if wrong:
                raise ValueError(f"{name} must hold finite numbers below 1e300, got {wrong[0]!r}")
        return grid

    @pydantic.model_validator(mode="after")
    def _training_is_measured(self) -> SweepSettings:
        asked = [self.measure] if isinstance(self.measure, str) else self.measure
        if self.training and "final_loss" not in asked:
            raise ValueError(
                '[training] is of measure = "final_loss"; leave it out, or measure that'
            )
        return self


def read_settings(source: Path | dict[str, Any]) -> SweepSettings:
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
        settings = SweepSettings.model_validate(values)
        folder = source.parent if isinstance(source, Path) else Path()
        return with_plugins(settings.model_copy(update={"plugin": []}), settings.plugin, folder)
    except pydantic.ValidationError as error:
        problems = "; ".join(_problem(e) for e in error.errors())
        where = f"{str(source)!r}: " if isinstance(source, Path) else ""
        raise ValueError(f"{where}{problems}") from None


def with_plugins(
    settings: SweepSettings, plugins: Sequence[str], folder: Path = Path()
) -> SweepSettings:
    """The settings with more plugins; files are named in full, since workers start elsewhere."""
    more = [_in_full(plugin, folder) for plugin in plugins]
    return settings.model_copy(update={"plugin": list(dict.fromkeys([*settings.plugin, *more]))})


def _in_full(plugin: str, folder: Path) -> str:
    path = folder / plugin
    is_file = path.suffix == ".py" or len(Path(plugin).parts) > 1 or path.exists()
    return str(path.resolve()) if is_file else plugin


def _unbounded(value: object) -> bool:
    return isinstance(value, (int, float)) and not abs(value) < 1e300


_PARTS: dict[str, type[_Strict]] = {
    "network": NetworkSettings,
    "plot": PlotSettings,
    "fit": FitSettings,
}


def _problem(error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        inside = _PARTS.get(place[0], SweepSettings) if len(place) > 1 else SweepSettings
        return unknown("setting", ".".join(place), inside.model_fields)
    return f"{'.'.join(place)}: {error['msg']}, got {error['input']!r}"
