"""Devices by name: which of them hold the float64 numbers that everything here rests on."""

from __future__ import annotations

import os

import torch

_FOR = "use cpu, or cuda where there is an NVIDIA or AMD GPU"


def as_device(device: str | torch.device) -> torch.device:
    """A device that is here and computes in float64: ``cpu``, ``cuda``, ``cuda:1``.

    Raises
    ------
    ValueError
        Naming why another cannot be used.
    """
    try:
        made = torch.device(device)
        if reason := _refused(made):
            raise RuntimeError(reason)
        torch.empty(0, device=made)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(f"device {str(device)!r} cannot be used: {reason}; {_FOR}") from None
    return made


def _refused(device: torch.device) -> str:
    if device.type == "mps":
        return "Apple's GPUs have no float64"
    if device.type == "meta":
        return "it holds no numbers"
    if device.type != "cuda":
        return ""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return "this torch sees no GPU here"
    if (device.index or 0) >= count:
        return f"there are {count}, from cuda:0 to cuda:{count - 1}"
    return ""


def gpus() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(k) for k in range(count)] if named is None else named.split(",")
    return names[:count]


def sides(tile: tuple[int, int], device: torch.device) -> tuple[int, int]:
    """Rows and columns of a tile: ``tile``, which stays in a core's cache, and 64 times that to fill a GPU."""
    return (8 * tile[0], 8 * tile[1]) if device.type == "cuda" else tile


def require_ieee(device: torch.device) -> None:
    """Raise ValueError where products in float64 are not what IEEE 754 says: certificates rest on it.

    TF32 is of float32 alone, in which nothing is proved.
    """
    emulated = os.environ.get("CUBLAS_EMULATE_DOUBLE_PRECISION", "0")
    if device.type == "cuda" and emulated not in ("", "0"):
        raise ValueError(
            f"CUBLAS_EMULATE_DOUBLE_PRECISION={emulated} lets the GPU emulate float64, whose rounding no "
            "bound here covers; unset it, or pass certify=False"
        )
