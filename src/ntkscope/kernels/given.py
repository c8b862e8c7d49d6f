"""Whatever a user holds, as a kernel: wrapped once, where it comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.outputs import OutputKernels
from ntkscope.networks.network import Network


class OperatorKernel(Kernel):
    """A symmetric N×N operator known by its products alone, in float64.

    ``apply`` takes and returns (N, k) float64 tensors. A tile costs a product for each column.
    """

    covers = "the operator, as far as its products show it"

    def __init__(self, apply: Callable[[Tensor], Tensor], n: int) -> None:
        self._apply, self._n = apply, n

    @property
    def shape(self) -> tuple[int, int]:
        return self._n, self._n

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def symmetric(self) -> bool:
        return True

    def tile(self, rows: Index, cols: Index) -> Tensor:
        r, c = (place(i, self._n, self.device) for i in (rows, cols))
        numbers = torch.arange(self._n)[c]
        units = torch.zeros(self._n, count(c), dtype=torch.float64)
        units[numbers, torch.arange(len(numbers))] = 1.0
        return self.matmul(units)[r]

    def matmul(self, V: Tensor) -> Tensor:
        return self._apply(V)

    def _fill(self, out: Tensor) -> None:
        out.copy_(self.matmul(torch.eye(self._n, dtype=torch.float64)))


def as_kernel(K: Any) -> Kernel:
    """``K`` as a :class:`Kernel`.

    Parameters
    ----------
    K: a kernel, a tensor or an array, a scipy ``LinearOperator``, or a pair (function of an (N,)
        tensor, N).

    Raises
    ------
    TypeError
        For anything else, such as a model or the kernels of several outputs, and for numbers that are not real.
    ValueError
        For a matrix with entries that are not finite, or an operator that is not square.
    """
    if isinstance(K, Kernel):
        return K
    if isinstance(K, (nn.Module, Network)):
        raise TypeError(
            f"a kernel is needed, got the model {type(K).__name__}; give its kernel on samples X, "
            "ntk.empirical_ntk(model, X)"
        )
    if isinstance(K, OutputKernels):
        raise TypeError(
            f"one kernel is needed, got those of {len(K)} outputs; give one of them, kernels[0], or their sum, "
            'reduce="trace"'
        )
    if callable(K) and not hasattr(K, "shape"):
        raise TypeError("a callable needs its size: pass (apply, N), apply taking an (N,) tensor")
    if isinstance(K, tuple) and len(K) == 2 and callable(K[0]):
        apply, n = K
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise TypeError(f"(apply, N) needs a positive integer N, got {n!r}")
        return OperatorKernel(lambda V: _columns(apply, V), int(n))
    if hasattr(K, "matvec") and hasattr(K, "shape"):
        if len(K.shape) != 2 or K.shape[0] != K.shape[1]:
            raise ValueError(f"K must be square, got an operator of shape {tuple(K.shape)}")
        if np.dtype(K.dtype or float).kind == "c":
            raise TypeError(f"K must be real, got an operator of dtype {K.dtype}")
        return OperatorKernel(
            lambda V: torch.from_numpy(np.array(K.matmat(V.numpy()), dtype=np.float64)),
            int(K.shape[0]),
        )
    return MatrixKernel(K)


def _columns(apply: Callable[[Tensor], Any], V: Tensor) -> Tensor:
    made = [torch.as_tensor(apply(v.contiguous()), dtype=torch.float64) for v in V.T]
    if any(column.shape != V.shape[:1] for column in made):
        raise ValueError(
            f"apply must return a vector of {V.shape[0]} numbers, got shape {tuple(made[0].shape)}"
        )
    return torch.stack(made, dim=1)
