"""A fence {api} names public things, a line each: they become a table and their docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```\{api\} ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def listed(page: str) -> list[tuple[str, str]]:
    """(module, name) of each thing that a page's fences name."""
    return [(m[1] or "ntkscope", name) for m in FENCE.finditer(page) for name in m[2].split()]


def expanded(page: str) -> str:
    """The page with its fences in reStructuredText."""
    return FENCE.sub(lambda m: _fence(m[1] or "ntkscope", m[2].split()), page)


def _fence(module: str, names: list[str]) -> str:
    lines = [f".. currentmodule:: {module}", ".. autosummary::", "   :nosignatures:", ""]
    lines += [f"   {name}" for name in names]
    for name in names:
        lines += ["", *_directive(getattr(importlib.import_module(module), name), name)]
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _directive(found: Any, name: str) -> list[str]:
    if not inspect.isclass(found):
        return [f".. autofunction:: {name}"]
    if issubclass(found, BaseException):
        return [f".. autoexception:: {name}"]
    return [f".. autoclass:: {name}", "   :members:"]


def pages(docs: Path) -> list[Path]:
    """The pages of the reference of the Python API."""
    return sorted((docs / "reference" / "api").glob("*.md"))


def _read(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = expanded(source[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
