"""Inputs are normalised once, at the public functions, by these."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)


def as_data(X: Any, name: str = "X", dtype: torch.dtype | None = None) -> Tensor:
    """``X`` as a finite (N, d) float tensor; ``dtype`` converts, otherwise float32/64 are kept.

    Integers and booleans become float64. Raises TypeError for what is no array, ValueError for
    another number of axes, an empty array, or a value that is not finite (naming where).
    """
    tensor = _as_tensor(X, name)
    if tensor.ndim != 2:
        raise ValueError(
            f"{name} must have two axes (samples, features), got shape {tuple(tensor.shape)}; "
            + (f"reshape one sample to (1, {tensor.shape[0]})" if tensor.ndim == 1 else
               "flatten the feature axes, e.g. X.reshape(len(X), -1)")
        )  # fmt: skip
    if 0 in tensor.shape:
        raise ValueError(f"{name} is empty: shape {tuple(tensor.shape)}")
    tensor = tensor.to(dtype) if dtype is not None else tensor
    require_finite(tensor, name)
    return tensor


def _as_tensor(X: Any, name: str) -> Tensor:
    if isinstance(X, Tensor):
        tensor = X.detach()
    else:
        refuse_masks(X, name)
        try:
            array = np.asarray(X)
        except (ValueError, TypeError) as error:
            raise TypeError(f"{name} must be an array of numbers: {error}") from None
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"{name} must hold real numbers, got dtype {array.dtype}; "
                "encode text and categories as numbers first"
            )
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.float64)
        tensor = torch.from_numpy(array)
    require_strided(tensor, name)
    if tensor.is_complex():
        raise TypeError(f"{name} must be real, got {tensor.dtype}")
    if tensor.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(
            f"{name} has dtype {tensor.dtype}, which cannot carry a spectrum; "
            "convert it with .to(torch.float64)"
        )
    return tensor if tensor.dtype in FLOATS else tensor.to(torch.float64)


def refuse_masks(X: Any, name: str) -> None:
    """Raise TypeError for a numpy masked array that masks some entry."""
    if np.ma.is_masked(X):
        raise TypeError(
            f"{name} is a masked array with {int(np.ma.getmaskarray(X).sum())} masked entries, which would "
            f"be read as numbers; impute them, {name}.filled(value), or leave these samples out"
        )


def require_strided(tensor: Tensor, name: str) -> None:
    """Raise TypeError for a tensor without an array of entries: nested, sparse, or on the meta device."""
    if tensor.is_nested:
        raise TypeError(
            f"{name} is a nested tensor, of samples of several lengths; pad them to one: "
            f"torch.nested.to_padded_tensor({name}, 0.0)"
        )
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} has the layout {tensor.layout}; convert it with .to_dense()")
    if tensor.is_meta:
        raise TypeError(f"{name} is on the meta device and holds no numbers; give real entries")


def require_finite(tensor: Tensor, name: str) -> None:
    """Raise ValueError naming the first entry of ``tensor`` that is NaN or infinite."""
    if bool(torch.isfinite(tensor.sum())):
        return  # one pass and no mask: an infinity or a NaN would have come through the sum
    bad = ~torch.isfinite(tensor)
    if bool(bad.any()):
        where = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(
            f"{name} has {int(bad.sum())} entries that are NaN or infinite, the first at {where}; "
            "remove or impute them"
        )


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """float32 or float64. Raises ValueError for any other."""
    made = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if made not in FLOATS:
        raise ValueError(f"dtype must be float64 or float32, got {dtype}")
    assert isinstance(made, torch.dtype)
    return made


def as_seed(seed: int | torch.Generator, stream: str) -> torch.Generator:
    """An explicit generator: the global one is never touched.

    An integer is turned into the seed of a ``stream`` of its own ("data", "weights", …): data and
    weights drawn with one seed must not share their random numbers. A generator is used as it is.

    Raises TypeError unless ``seed`` is an integer or a generator.
    """
    if isinstance(seed, torch.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer or a torch.Generator, got {seed!r}")
    digest = hashlib.sha256(f"{stream}:{int(seed)}".encode()).digest()
    generator = torch.Generator()
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return generator
