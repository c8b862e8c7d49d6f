"""``file.py:build`` and ``package.module:callable``: a user's model from the command line."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ntkscope._base.extras import needs
from ntkscope._base.saved import load_saved
from ntkscope._base.specs import unknown

_PICKLED = (".pt", ".pth", ".bin", ".ckpt")


def load_model(
    spec: str,
    checkpoint: str | Path | None = None,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> nn.Module:
    """The model that ``spec`` names, in evaluation mode, with the weights of ``checkpoint``.

    ``spec`` is ``path/to/file.py:name`` or ``package.module:name``; ``name`` is a module or what
    makes one when called without arguments (or with ``seed=``). Loading a Python file runs it: name
    only files that you would run. A checkpoint (.pt, .pth, .bin, .ckpt, .safetensors) is read as
    tensors alone; one that would run code is refused. Weights drawn while the model is made follow
    ``seed``; the global generator is left as it was.

    Raises ValueError, TypeError, FileNotFoundError or ImportError in one line for what cannot be.
    """
    head, colon, name = spec.rpartition(":")
    if not colon or not head or not name:
        raise ValueError(f"write a model as file.py:name or package.module:name, got {spec!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        home = _file(Path(head)) if head.endswith(".py") else _package(head)
        model = _make(home, name, spec, seed)
    if checkpoint is not None:
        _load(model, _read(Path(checkpoint)), str(checkpoint))
    return model.to(device=device, dtype=dtype).eval()


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}; give the path of a Python file")
    spec = importlib.util.spec_from_file_location(f"_ntkscope_model_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickling look a module up by its name; its own imports beside it by the path
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(spec.name, None)
        raise ValueError(f"running {path} failed: {_said(error)}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"no installed module {name!r} ({error}); for a file write path/to/file.py:name"
        ) from None


def _make(home: ModuleType, name: str, spec: str, seed: int) -> nn.Module:
    found = getattr(home, name, None)
    if found is None:
        names = [n for n, value in vars(home).items() if callable(value) and n[0] != "_"]
        raise ValueError(unknown("model", name, names) + f" in {spec.rpartition(':')[0]}")
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    if not callable(found):
        raise TypeError(f"{spec} is a {type(found).__name__}, not a module or what makes one")
    options = {"seed": seed} if "seed" in _parameters(found) else {}
    try:
        model = found(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{spec} failed when called: {_said(error)}") from error
    if not isinstance(model, nn.Module):
        raise TypeError(f"{spec} returned a {type(model).__name__}, expected an nn.Module")
    return model


def _parameters(found: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):
        return {}


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {str(path)!r}")
    if path.suffix == ".safetensors":
        with needs("data"):
            from safetensors.torch import load_file
        try:
            return load_file(str(path))
        except Exception as error:
            raise ValueError(f"{path} is no safetensors file: {_said(error)}") from error
    if path.suffix not in _PICKLED:
        known = ", ".join((*_PICKLED, ".safetensors"))
        raise ValueError(f"a checkpoint ends in {known}, got {path.name!r}")
    try:
        loaded = load_saved(path)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        what = code[1] if code else "more than tensors and plain values"
        raise ValueError(
            f"{path} holds {what}, and reading that would run code; save the weights alone, with "
            "torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path} does not load as weights alone ({_said(error)}); save them with "
            "torch.save(model.state_dict(), path)"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()
    ):
        kind = type(loaded).__name__
        raise ValueError(
            f"{path} holds a {kind} and no state_dict, whose keys are names and whose values are tensors"
        )
    return loaded


def _load(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    if state and all(key.startswith("module.") for key in state):  # what DataParallel adds
        state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise ValueError(f"{source} does not fit the model: {_said(error)}") from error


def _said(error: BaseException) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return f"{type(error).__name__}: {text[:300]}"
