"""A file as the inputs of a model: several arrays by keyword, any shape, whole numbers kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ntkscope._base.samples import Samples, as_samples
from ntkscope._base.saved import load_saved
from ntkscope.data.loaders import load, open_file, split_path

_ARRAYS = (".npy", ".npz", ".pt")


def load_inputs(
    spec: str, *, seed: int = 0, centered: bool = False, scaled: bool = False
) -> Samples:
    """What ``spec`` describes as a model takes it, with the labels where the source has them.

    .npz and .pt files with several arrays hold keyword arguments (``input_ids``,
    ``attention_mask``), and their ``labels`` the targets; ``file.npz:X``, .npy and .pt with one
    tensor hold one input of any shape. Whole numbers there stay such. All else is read by
    :func:`load`, whose errors these are, besides ValueError for ``centered`` or ``scaled`` arrays
    that are no (N, d) floats.
    """
    path, key = split_path(spec)
    if path is None or path.suffix not in _ARRAYS:
        found = load(spec, seed=seed, centered=centered, scaled=scaled)
        return Samples(found.X, found.y)
    held = _arrays(path)
    one = key or (next(iter(held)) if len(held) == 1 else "")
    plain = one in held and held[one].ndim == 2 and held[one].dtype.kind == "f"
    if centered or scaled:
        if not plain:
            raise ValueError(
                f"--center and --scale apply to rows of an (N, d) array of floats, and {str(path)!r} "
                "holds others; prepare it before it is saved"
            )
        return Samples(load(spec, seed=seed, centered=centered, scaled=scaled).X)
    if one or path.suffix == ".npy":
        if one not in held:
            load(spec)  # says which there are
        return Samples(_tensor(held[one], str(path)))
    named = {name: _tensor(array, f"{path}:{name}") for name, array in held.items()}
    return as_samples(named, str(path))


def _arrays(path: Path) -> dict[str, Any]:
    """By name; one array without a name under ``""``."""
    if not path.exists():
        raise FileNotFoundError(f"no file {str(path)!r}; give the path of an existing data file")
    if path.suffix == ".pt":
        read = lambda: load_saved(path)  # noqa: E731
        loaded = open_file(path, read)
        tensors = loaded if isinstance(loaded, dict) else {"": loaded}
        return {str(name): np.asarray(tensor) for name, tensor in tensors.items()}
    loaded = open_file(path, lambda: np.load(path, allow_pickle=False))
    if path.suffix == ".npy":
        return {"": loaded}
    with loaded as archive:
        return {name: open_file(path, lambda: archive[name]) for name in archive.files}  # noqa: B023


def _tensor(array: Any, source: str) -> torch.Tensor:
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise TypeError(f"{source} holds {array.dtype}; save real numbers or whole ones")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
