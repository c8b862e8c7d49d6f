"""A module of one real input, however that is given: by position, or by keyword as Hugging Face does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntkscope._base.samples import as_samples
from ntkscope.kernels.module.reading.interface import Interface, Output


class OneInput(nn.Module):
    """The module as a function of one array: the others of its arguments are settings."""

    def __init__(self, model: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.model, self._interface = model, interface

    def forward(self, x: Tensor) -> Any:
        named = self._interface.named((x,))
        return self._interface.pick(self.model(**named) if named else self.model(x))

    @staticmethod
    def own_name(model: nn.Module, name: str) -> str:
        """A parameter's name in the module that was wrapped."""
        return name.removeprefix("model.") if isinstance(model, OneInput) else name


def one_input(model: nn.Module, X: Any, output: Output) -> tuple[nn.Module, Any]:
    """The module and its array, wrapped where it is called by keyword or its output is picked.

    Raises ValueError for several inputs, and for token numbers, of which no limit is known here.
    """
    inputs = as_samples(X).inputs
    interface = Interface.of(inputs, output)
    held = inputs
    if isinstance(inputs, Mapping):
        held = tuple(inputs[key] for key in interface.keywords)
    if isinstance(held, tuple):
        if len(held) != 1:
            names = ", ".join(interface.keywords) or str(len(held))
            raise ValueError(
                f"the infinite-width limit takes one input, and X holds {names}; leave width_limit out"
            )
        held = held[0]
    if not interface.keywords and output is None:
        return model, held
    array = held if isinstance(held, Tensor) else torch.from_numpy(np.asarray(held))
    if not array.is_floating_point():
        raise ValueError(
            f"the infinite-width limit takes real inputs, and {', '.join(interface.keywords) or 'X'} holds "
            f"{array.dtype}; leave width_limit out"
        )
    return OneInput(model, interface), array
