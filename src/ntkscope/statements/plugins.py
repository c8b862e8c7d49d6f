"""Plugins: files and modules of others, imported whole or not at all."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ntkscope._base.rollback import all_or_nothing

INHERITED = "NTKSCOPE_PLUGINS"  # environment variable: what child processes load as well
_PREFIX = "ntkscope_plugin_"


class PluginError(ValueError):
    """A plugin that is left out, and why."""


class PluginWarning(UserWarning):
    """An installed plugin that is left out, and why."""


def load(
    source: str | os.PathLike[str] | ModuleType, register: Callable[[ModuleType], None]
) -> ModuleType:
    """Import a plugin and register what it holds; where either raises, nothing of it stays.

    Raises PluginError, in one line.
    """
    known = set(sys.modules)
    try:
        with all_or_nothing():
            module = source if isinstance(source, ModuleType) else _import(source)
            register(module)
    except (Exception, SystemExit) as error:
        for name in set(sys.modules) - known:
            if not name.startswith("ntkscope."):
                _forget(name, source)
        reason = " ".join(str(error).split()) or "no reason given"
        raise PluginError(
            f"the plugin {_name(source)} is left out: {type(error).__name__}: {reason}"
        ) from error
    return module


def hand_down(source: str | os.PathLike[str] | ModuleType) -> None:
    """Have processes that are started from now on load the plugin."""
    path = None if isinstance(source, ModuleType) else _path(source)
    name = str(path.resolve()) if path is not None else _name(source)
    if name not in ("__main__", *handed_down()):
        os.environ[INHERITED] = os.pathsep.join([*handed_down(), name])


def handed_down() -> list[str]:
    """The plugins that this process was started with, and those it has loaded."""
    return [part for part in os.environ.get(INHERITED, "").split(os.pathsep) if part]


def _name(source: str | os.PathLike[str] | ModuleType) -> str:
    return source.__name__ if isinstance(source, ModuleType) else os.fspath(source)


def _path(source: str | os.PathLike[str]) -> Path | None:
    """The file or folder meant; None where it is a module's name."""
    path = Path(source)
    if path.suffix == ".py" or path.exists() or len(path.parts) > 1:
        return path
    return None


def _import(source: str | os.PathLike[str]) -> ModuleType:
    path = _path(source)
    if path is None:
        return importlib.import_module(os.fspath(source))
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    name = _PREFIX + path.resolve().stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if Path(loaded.__file__ or "").resolve() == file.resolve():
            return loaded
        raise ImportError(f"{loaded.__file__} is a plugin of the same name; rename one of them")
    inside = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: its parts import it
    spec.loader.exec_module(module)
    return module


def _forget(name: str, source: str | os.PathLike[str] | ModuleType) -> None:
    """Let a module that the plugin itself is made of be imported anew; what it uses may stay."""
    own = _name(source).split(".")[0]
    if name.startswith(_PREFIX) or name.split(".")[0] == own:
        sys.modules.pop(name, None)
