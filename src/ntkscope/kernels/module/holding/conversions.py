"""A kernel in another precision, made once for as long as somebody holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from ntkscope.kernels.kernel import Kernel

_Asked = tuple[torch.dtype | None, str]
K = TypeVar("K", bound=Kernel)
_MADE: WeakKeyDictionary[Kernel, WeakValueDictionary[_Asked, Kernel]] = WeakKeyDictionary()


def converted(
    kernel: K, dtype: torch.dtype | None, device: torch.device | str | None, make: Callable[[], K]
) -> K:
    """What ``make`` gives, or gave before: with what it keeps of its own."""
    made = _MADE.setdefault(kernel, WeakValueDictionary())
    asked = dtype, "" if device is None else str(device)
    found = made.get(asked)
    if not isinstance(found, type(kernel)):
        found = make()
        if found is not kernel:
            made[asked] = found
    return found
