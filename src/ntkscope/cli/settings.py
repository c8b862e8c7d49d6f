"""The settings of a run: the same fields on the command line and in a TOML file."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ntkscope._base.specs import unknown


def read(kind: Any, config: Path | None, given: dict[str, Any]) -> Any:
    """Settings from a TOML file, overridden by what the command line gave (not ``None``).

    ``kind`` is the dataclass of the settings. Raises ValueError in one line for an unreadable file,
    an unknown or missing field, a bad value.
    """
    known = {field.name: field for field in fields(kind)}
    values = _toml(config) if config is not None else {}
    for key in values:
        if key not in known:
            raise ValueError(f"{config}: {unknown('setting', key, known)}")
    values.update({key: value for key, value in given.items() if value is not None})
    needed = [name for name, field in known.items() if field.default is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError("; ".join(f"--{name.replace('_', '-')} is needed" for name in missing))
    hints = get_type_hints(kind)
    return kind(**{key: _checked(key, value, hints[key]) for key, value in values.items()})


def as_typed(settings: Any) -> str:
    """The options that differ from their defaults, as one would type them."""
    parts = []
    for field in fields(settings):
        value, option = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        if value is True:
            parts.append(option)
        elif value != field.default:
            parts.append(f"{option} {shlex.quote(str(value))}")
    return " ".join(parts)


def _checked(name: str, value: Any, hint: Any) -> Any:
    """``value`` as ``hint`` allows it: a TOML list reads as comma-separated text."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, list) and str in kinds:
        return ",".join(map(str, value))
    if type(value) is int and int not in kinds and float in kinds:
        return float(value)
    if type(value) is str and Path in kinds:
        return Path(value)
    if not isinstance(value, kinds) or (type(value) is bool and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
    return value


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no settings file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
