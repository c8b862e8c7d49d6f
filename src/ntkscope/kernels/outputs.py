"""One kernel for each output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from ntkscope.kernels.kernel import Kernel
from ntkscope.report.result import Shown


class OutputKernels(Shown, Sequence[Kernel]):
    """The kernels of a model's outputs, each on its own: ``reduce="diagonal"``.

    ``kernels[c]`` is the (N, M) kernel of output c, with all that a kernel can; ``dense()`` stacks
    them as (N, M, C). Their sum is the kernel of ``reduce="trace"``.
    """

    def __init__(self, kernels: Sequence[Kernel]) -> None:
        if not kernels:
            raise ValueError("a model needs at least one output")
        self._kernels = tuple(kernels)

    @overload
    def __getitem__(self, index: int) -> Kernel: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Kernel]: ...
    def __getitem__(self, index: int | slice) -> Kernel | Sequence[Kernel]:
        return self._kernels[index]

    def __len__(self) -> int:
        return len(self._kernels)

    def __iter__(self) -> Iterator[Kernel]:
        return iter(self._kernels)

    def __repr__(self) -> str:
        return f"OutputKernels({len(self)} outputs, each {self._kernels[0].shape})"

    def to_dict(self) -> dict[str, Any]:
        """What each of them is, in plain values."""
        return {"outputs": len(self), "kernels": [kernel.to_dict() for kernel in self]}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, M, C)."""
        return (*self._kernels[0].shape, len(self))

    @property
    def nbytes_dense(self) -> int:
        return sum(k.nbytes_dense for k in self._kernels)

    def dense(self) -> Tensor:
        """(N, M, C). Raises NotEnoughMemoryError when it does not fit."""
        return torch.stack([k.dense() for k in self._kernels], dim=2)

    def diagonal(self) -> Tensor:
        """(N, C): K_ii of each output."""
        return torch.stack([k.diagonal() for k in self._kernels], dim=1)
