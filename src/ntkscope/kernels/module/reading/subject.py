"""A model, its parameters and its data in the one form that the rest works with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.interface import PICK, Interface, outline, remedy
from ntkscope.kernels.module.reading.modes import with_gradients

Parameters = dict[str, Tensor]
Inputs = tuple[Tensor, ...]
Pass = Callable[[Inputs], Any]


class WrongOutputError(TypeError):
    """The model returns something that is no tensor of outputs."""


class Runs(ABC):
    """How a model runs, whatever it returns."""

    @abstractmethod
    def at(self, parameters: Parameters, inputs: Inputs) -> Any:
        """A pass at any values, for torch.func."""

    @abstractmethod
    def own(self) -> AbstractContextManager[tuple[Parameters, Pass]]:
        """Leaves that hold the subject's values and require gradients, and the pass of plain autograd
        through them."""

    @property
    @abstractmethod
    def unused(self) -> str:
        """What to say where the outputs use none of the parameters."""


@dataclass(frozen=True, eq=False)
class Subject:
    """f(parameters, inputs) → (n, C), with copies of the parameters it was made with.

    parameters: the ones that the kernel differentiates, by name. fixed: the others. interface: how
    inputs go in and outputs come out.
    """

    title: str
    runs: Runs
    parameters: Parameters
    fixed: Parameters
    interface: Interface = field(default_factory=Interface)

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters.values())

    def __call__(self, parameters: Parameters, inputs: Inputs) -> Tensor:
        """Outputs (n, C) at ``parameters``, those that are not given as they were.

        Where gradients are taken by going backward, use :meth:`autograd`.
        """
        if not parameters:
            return self._outputs(inputs)
        values = {**self.fixed, **self.parameters, **parameters}
        return self._plain(lambda X: self.runs.at(values, X), inputs)

    @with_gradients
    def _outputs(self, inputs: Inputs) -> Tensor:
        # with gradients, as the passes that they are taken of: a pass may take some itself
        with self.autograd() as (_, run):
            return run(inputs).detach()

    @contextmanager
    def autograd(self) -> Iterator[tuple[Parameters, Pass]]:
        """Leaves that hold the parameters' values, and the pass (n, C) through them.

        Go backward inside: a module's leaves are its own parameters, and hold these values meanwhile.
        """
        with self.runs.own() as (leaves, run):
            yield leaves, lambda inputs: self._plain(run, inputs)

    def _plain(self, run: Pass, inputs: Inputs) -> Tensor:
        # half precision, entered silently by an outer autocast, would not carry a spectrum; the
        # fused transformer layer that torch takes without gradients has no derivative
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.autocast(self.device.type, enabled=False):
                raw = self.interface.pick(run(inputs))
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return self._checked(raw, len(inputs[0]))

    def _checked(self, raw: Any, n: int) -> Tensor:
        if not isinstance(raw, Tensor):
            named = self.interface.output is not None
            whose = "output picks" if named else "the model returns"
            raise WrongOutputError(
                f"{whose} {outline(raw)}, and a kernel needs one tensor of shape (samples, outputs); "
                f"{PICK if named else remedy(raw)}"
            )
        if raw.ndim == 0 or raw.shape[0] != n:
            raise ValueError(
                f"the model returns shape {tuple(raw.shape)} for {n} samples; its first axis must "
                "be the samples (return the outputs, not their loss or mean)"
            )
        if raw.dtype != self.dtype:
            raise WrongOutputError(
                f"the model returns {raw.dtype} from {self.dtype} parameters; keep one precision "
                f"throughout, e.g. model.to({self.dtype})"
            )
        if raw.device != self.device:
            raise ValueError(
                f"the model's outputs are on {raw.device}, its parameters on {self.device}; "
                "keep the whole model on one device"
            )
        outputs = (
            raw if raw.ndim == 2 else raw.reshape(n, -1)
        )  # a layer's own are known by their edge
        if outputs.shape[1] == 0:
            raise ValueError(f"the model returns no outputs: shape {tuple(raw.shape)}")
        return outputs


@with_gradients
def take(inputs: Inputs, index: slice | Tensor | list[int]) -> Inputs:
    """The samples of ``index``."""
    return tuple(part[index] for part in inputs)
