"""ntkscope: measure, bound, predict and reproduce the spectrum of the neural tangent kernel."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

from ntkscope._base.version import __version__ as __version__


def _homes() -> dict[str, str]:
    """Public name → module that holds it, from the imports of ``__init__.pyi``."""
    stub = ast.parse(pkgutil.get_data(__name__, "__init__.pyi") or b"")
    imports = (node for node in stub.body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}


# imported on first use, so that `import ntkscope` and the command line's --help do without torch
_HOMES = _homes()
__all__ = sorted(_HOMES.keys() - {"__version__"})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    # a folder of the package is public as a whole
    value = (
        importlib.import_module(f"{home}.{name}")
        if home == __name__
        else getattr(importlib.import_module(home), name)
    )
    globals()[name] = value
    return value


class _Facade(ModuleType):
    """A folder that has the name of a public function (``statements``) does not take its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and _HOMES.get(name, __name__) != __name__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
