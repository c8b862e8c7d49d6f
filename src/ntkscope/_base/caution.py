"""Warnings that name the caller's line, however deep inside the library they arise."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path

import torch

_INSIDE = (
    str(Path(__file__).parents[1]) + os.sep,
    str(Path(torch.__file__).parent) + os.sep,  # calls the hooks of an optimizer
    contextlib.__file__,
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """``warnings.warn`` at the first line outside of ntkscope and torch."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
