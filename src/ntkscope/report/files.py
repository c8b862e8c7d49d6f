"""Files written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ntkscope._base.files import whole
from ntkscope._base.records import plain


def write_all(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write every file beside its place first, then rename all of them.

    A failure (a full disk, an interrupt) removes what was begun and leaves older files as they were.
    Raises OSError.
    """
    with ExitStack() as stack:
        for name, content in contents.items():
            file = stack.enter_context(whole(folder / name))
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # a full disk says so before the first is renamed


REPORT, RESULT, SETTINGS = "report.html", "result.json", "settings.toml"


def results(
    page: str, record: Any, settings: Mapping[str, Any], again: str = ""
) -> dict[str, str | bytes]:
    """What every command writes: its page, its numbers, and its settings so that it can be run again.

    again: the command that does so, as a comment above the settings.
    """
    head = (
        f"# Again: {again}\n# Paths that are not absolute begin at {str(Path.cwd())!r}\n"
        if again
        else ""
    )
    return {REPORT: page, RESULT: to_json(record), SETTINGS: head + to_toml(settings)}


def to_json(record: Any) -> str:
    """A result or plain values as JSON that every parser reads: infinities and NaN become strings."""
    return json.dumps(_finite(plain(record)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as TOML, a line a key, tables inline; ``None`` is left out, as an absent key."""
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML's words too
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        kept = [f"{_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None]
        return "{ " + ", ".join(kept) + " }" if kept else "{}"
    # DEL is a control character to TOML and none to JSON
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name, ensure_ascii=False)
