"""The passes of :mod:`fused`, where their compiler is installed."""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType


@cache
def compiled() -> ModuleType | None:
    """None without numba (``ntkscope[fast]``): plain torch then does the same to a few roundings."""
    if importlib.util.find_spec("numba") is None:
        return None
    from ntkscope.kernels.limiting.architectures import fused

    return fused
