"""float32 as IEEE 754 has it, whatever shorter formats products and convolutions may take outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _places() -> list[Any]:
    """Where torch (2.9 and later) keeps the format of a kind of operation: "none", "ieee", "tf32", "bf16"."""
    b: Any = torch.backends
    kinds = [(b.mkldnn, kind) for kind in ("matmul", "conv", "rnn")]
    if torch.cuda.is_available():
        kinds += [(b.cuda, "matmul"), (b.cudnn, "conv"), (b.cudnn, "rnn")]
    found = [getattr(backend, kind, None) for backend, kind in kinds]
    return [place for place in found if hasattr(place, "fp32_precision")]


@contextmanager
def ieee_float32() -> Iterator[None]:
    """No TF32 and no bfloat16 inside: errors of float32 are counted with its own roundoff.

    By default a GPU's convolutions take TF32, which has 11 bits in place of 24.
    """
    places = _places()
    before = [place.fp32_precision for place in places]
    if places and all(way in ("none", "ieee") for way in before):
        yield
        return
    whole = "highest" if places else torch.get_float32_matmul_precision()
    convolutions = "tf32" in before if places else torch.backends.cudnn.allow_tf32
    try:
        # by the older switch, which models may read; it does both kinds of cuDNN's operations
        torch.backends.cudnn.allow_tf32 = False
        if whole != "highest":
            torch.set_float32_matmul_precision("highest")
        for place in places:
            if place.fp32_precision not in ("none", "ieee"):
                place.fp32_precision = "ieee"
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        if whole != "highest":
            torch.set_float32_matmul_precision(whole)
        for place, way in zip(places, before, strict=True):
            if place.fp32_precision != way:
                place.fp32_precision = way
