"""The settings of a run: the same fields on the command line and in a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ntkscope._base.specs import unknown


class NetworkSettings(BaseModel):
    """Which data and which network; defaults live here and nowhere else."""

    model_config = ConfigDict(extra="forbid")

    data: str
    center: bool = False
    scale: bool = False
    widths: str
    activation: str = "relu"
    init: str = "he"
    parameterization: str = "standard"
    weights: str = "gaussian"
    bias_std: float | None = None
    residual: float = 0.0
    seed: int = 0

    @field_validator("widths", "init", mode="before")
    @classmethod
    def _join(cls, value: Any) -> Any:
        """A TOML list reads as the command line's comma-separated text."""
        return ",".join(str(part) for part in value) if isinstance(value, list) else value


class InspectSettings(NetworkSettings):
    """What `ntkscope inspect` takes: a network by its widths, or a model."""

    widths: str | None = None  # type: ignore[assignment]  # needed only where no model is named
    model: str | None = None
    checkpoint: str | None = None
    params: str | None = None
    dtype: str = "float64"
    device: str = "cpu"
    reduce: str = "trace"
    width_limit: bool = False
    statements: bool = False
    out: str | None = None


def read(model: type[BaseModel], config: Path | None, given: dict[str, Any]) -> Any:
    """Settings from a TOML file, overridden by what the command line gave (not ``None``).

    Raises ValueError in one line for an unreadable file, an unknown or missing field, a bad value.
    """
    values = _toml(config) if config is not None else {}
    for key in values:
        if key not in model.model_fields:
            raise ValueError(f"{config}: {unknown('setting', key, model.model_fields)}")
    values.update({key: value for key, value in given.items() if value is not None})
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError(_one_line(error)) from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no settings file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None


def _one_line(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        missing = item["type"] == "missing"
        parts.append(f"--{name} is needed" if missing else f"{name}: {item['msg']}")
    return "; ".join(parts)
