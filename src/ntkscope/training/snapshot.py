"""A model as it was, whatever became of it: weights, buffers and modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from ntkscope.kernels.module.reading.installed import installed


class Snapshot:
    """Of a module; of anything else nothing is held."""

    def __init__(self, model: Any) -> None:
        self._module = model if isinstance(model, nn.Module) else None
        if self._module is None:
            return
        own = dict(self._module.named_parameters())
        self._wanted = [name for name, p in own.items() if p.requires_grad]
        self._parameters, self._buffers = copied(own), copied(dict(self._module.named_buffers()))
        self._modes = {name: part.training for name, part in self._module.named_modules()}

    @contextmanager
    def restored(self) -> Iterator[None]:
        """The module is as it was meanwhile. Raises ValueError where it has lost a parameter since."""
        if self._module is None:
            yield
            return
        now = [(part, part.training) for part in self._module.modules()]
        try:
            for name, part in self._module.named_modules():
                part.training = self._modes.get(name, part.training)
            with installed(self._module, self._parameters, self._buffers, self._wanted):
                yield
        finally:
            for part, training in now:
                part.training = training


def copied(values: Any) -> Any:
    """Tensors and arrays, in dicts, lists and tuples, as they are now."""
    if isinstance(values, Tensor):
        return values.detach().clone()
    if isinstance(values, np.ndarray):
        return values.copy()
    if isinstance(values, Mapping):
        return {key: copied(value) for key, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(copied(value) for value in values)
    return values
