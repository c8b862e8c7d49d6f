"""A model and its data with what is worth knowing of them found once: the contract."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from torch import Tensor

from ntkscope._base.specs import unknown
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.outputs import OutputKernels

Reduce = Literal["trace", "full"] | int
Diagonal = Literal["diagonal"]


@dataclass(frozen=True)
class Options:
    """What a caller may ask of the making of a kernel; see :func:`ntkscope.empirical_ntk`.

    Raises TypeError or ValueError for a ``max_memory`` or ``chunk_size`` that is none.
    """

    params: Any = None
    max_memory: float | int | None = None
    chunk_size: int | None = None
    self_check: bool = True
    general: bool = False
    output: Any = None

    def __post_init__(self) -> None:
        limit, chunk = self.max_memory, self.chunk_size
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(
                limit, (int, float, np.integer, np.floating)
            ):
                raise TypeError(f"max_memory is a number of bytes, such as 2e9, got {limit!r}")
            if not (math.isfinite(limit) and limit >= 1e6):
                raise ValueError(f"max_memory must be at least 1e6 bytes, got {limit}")
        if chunk is not None:
            if isinstance(chunk, bool) or not isinstance(chunk, (int, np.integer)):
                raise TypeError(f"chunk_size must be an integer, got {chunk!r}")
            if chunk < 1:
                raise ValueError(f"chunk_size must be at least 1, got {chunk}")

    @property
    def as_module(self) -> bool:
        """Whether they ask for what only the kernel of a module has."""
        given = (self.params, self.max_memory, self.chunk_size, self.output)
        return self.general or any(value is not None for value in given)


class Prepared(ABC):
    """A model on data X (and X2), read once; its kernels are made from that.

    Attributes
    ----------
    shapes: of the parameter behind each term of the kernel.
    n_outputs: C, the outputs for one sample.
    """

    shapes: Mapping[str, tuple[int, ...]]
    n_outputs: int

    @overload
    def kernel(self, reduce: Reduce = "trace") -> Kernel: ...
    @overload
    def kernel(self, reduce: Diagonal) -> OutputKernels: ...
    def kernel(self, reduce: Reduce | Diagonal = "trace") -> Kernel | OutputKernels:
        """The kernel of the outputs that ``reduce`` selects. Raises TypeError or ValueError for none."""
        return self._made(reduce, True)

    @overload
    def beside(self, reduce: Reduce) -> Kernel: ...
    @overload
    def beside(self, reduce: Diagonal) -> OutputKernels: ...
    def beside(self, reduce: Reduce | Diagonal) -> Kernel | OutputKernels:
        """Another kernel beside one that was checked, from the same pass where that serves both."""
        return self._made(reduce, False)

    def _made(self, reduce: Reduce | Diagonal, checked: bool) -> Kernel | OutputKernels:
        outputs = chosen_outputs(reduce, self.n_outputs)
        if reduce == "diagonal":
            return self._apart(checked)
        kernel = self._together(outputs, reduce == "full", checked)
        kernel.summed = 1 if reduce == "full" else len(outputs)
        return kernel

    def products(self, reduce: Reduce) -> Kernel:
        """The kernel for products, where they cost less without held factors."""
        return self.beside(reduce)

    @abstractmethod
    def outputs(self) -> Tensor:
        """The model's outputs on X, (N, …) in its own shape."""

    @abstractmethod
    def _together(self, outputs: tuple[int, ...], full: bool, checked: bool = True) -> Kernel:
        """One kernel of these outputs, summed, or with their pairs kept apart."""

    @abstractmethod
    def _apart(self, checked: bool = True) -> OutputKernels:
        """One kernel for each output."""


def chosen_outputs(reduce: Reduce | Diagonal, n_outputs: int) -> tuple[int, ...]:
    """The outputs that ``reduce`` selects. Raises TypeError or ValueError for none."""
    if isinstance(reduce, str):
        known = ("trace", "full", "diagonal")
        if reduce not in known:
            raise ValueError(unknown("reduce", reduce, known) + ", or an output index")
        return tuple(range(n_outputs))
    if isinstance(reduce, bool) or not isinstance(reduce, (int, np.integer)):
        raise TypeError(
            f'reduce must be "trace", "full", "diagonal" or an output index, got {reduce!r}'
        )
    if not -n_outputs <= reduce < n_outputs:
        raise ValueError(f"reduce={reduce} names no output: the model has {n_outputs}")
    return (int(reduce) % n_outputs,)
