"""What a layer does with its parameters: the contract of an operation, and the readers of calls.

Each operation takes the layer's inputs x and the gradients g of the outputs with respect to the
layer's outputs, and gives the gradient with respect to the parameter for each sample and output.
Shapes: n samples, C outputs of the model, k inner positions folded into the batch, T = all
positions that a sample sums over, P = entries of the parameter. Axes stay in the order n, C, ….
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# [(n, T, p)] and [(n, C, T, q)], one of each for every group of a layer
Pairs = tuple[list[Tensor], list[Tensor]]


class Operation(ABC):
    """Final subclasses are frozen: two records of a forward pass are compared by them.

    heavy: its gradient is larger than a vector, so that the layer's x and g are kept for it.
    is_outer: its gradient is the matrix Σ_t g_t a_tᵀ of :meth:`pairs`. unit_axis: of g, where it is
    outer, the layer's output units. by_vectors: a layer of one input vector a sample has the
    Hadamard product of two Grams as its kernel. whole: it is of all the parameter's entries, in place.
    """

    heavy: bool = False
    is_outer: bool = False
    unit_axis: int = 3
    by_vectors: bool = False
    whole: bool = True

    @abstractmethod
    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        """∂f/∂p[part] of each sample and output: (n, C, P′), rows ``part`` of the parameter."""

    def bound(self, x: Tensor) -> Operation:
        """The same for this x, with what :meth:`gradient` makes of it made once for several g."""
        del x
        return self

    # --- how a call's tensors lie ---------------------------------------------------------------

    def form(self, tensor: Tensor, folded: bool, output: bool) -> Tensor:
        """x, or an ``output`` gradient, (n, …), as a heavy operation takes it.

        ``folded``: positions that lay on the samples' axis are an axis of their own in its place.
        """
        del folded, output
        return tensor

    def takes(self, x: tuple[int, ...], out: tuple[int, ...], axis: int) -> bool:
        """Whether a heavy operation's x and output are batches with the samples on ``axis``."""
        del x, out, axis
        return True

    def on_transpose(self) -> Operation | None:
        """The operation of W where the layer was given Wᵀ; None where it has none."""
        return None

    def on_rows(self, start: int, total: int) -> Operation | None:
        """The operation of a matrix of ``total`` rows where the layer was given those from ``start``."""
        del start, total
        return None

    def for_samples(self, ndim: int, axis: int, folded: bool) -> Operation | None:
        """The same once the samples' ``axis`` of an output of ``ndim`` axes is the first.

        None where the parameter differs from sample to sample.
        """
        del ndim, axis, folded
        return self

    def beside(self, heavy: Operation) -> Operation:
        """The same for output gradients in the form of a heavy operation of its call."""
        del heavy
        return self

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape, along a sample's axes, of a parameter beside a heavy one in its form."""
        return shape

    # --- contractions ---------------------------------------------------------------------------

    def pairs(self, x: Tensor, g: Tensor) -> Pairs | None:
        """Inputs a and gradients g with gradient Σ_t a_t g_tᵀ, one pair for each group.

        None where the gradient is no sum of outer products.
        """
        del x, g
        return None

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        """Flops for one pair of samples through :meth:`pairs`; infinite where there are none."""
        del x, g
        return math.inf

    def forming_flops(self, g: Tensor, size: int) -> float:
        """Flops of one sample's :meth:`gradient`, for a parameter of ``size`` entries."""
        del size
        return 2.0 * g[0].numel()

    def scratch(self, g_size: int, parameter: tuple[int, ...]) -> int:
        """Numbers that :meth:`gradient` writes for a sample of one output beyond its result."""
        del g_size, parameter
        return 1

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """(n, C): at least Σ_t ‖x_t‖ ‖g_t‖, the size of the sums behind the gradient's entries."""
        left, right = self.pairs(x, g) or ([], [])
        if not left:
            return torch.linalg.vector_norm(g.flatten(2), dim=2)
        total = g.new_zeros(g.shape[:2])
        for a, b in zip(left, right, strict=True):
            total += (self._norms(a)[:, None] * torch.linalg.vector_norm(b, dim=3)).sum(dim=2)
        return total

    def _norms(self, a: Tensor) -> Tensor:
        """(n, T): of the rows of a factor (n, T, p)."""
        return torch.linalg.vector_norm(a, dim=2)


@dataclass(frozen=True)
class Ready(Operation):
    """A gradient that is held already: g is (n, C, P) of a parameter whose first axis is ``rows``."""

    rows: int

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        del x
        if part == slice(None):
            return g
        return g.reshape(*g.shape[:2], self.rows, -1)[:, :, part].flatten(2)


def pair_flops(T: int, p: int, q: int) -> float:
    """Two Gram tiles of T×T and their elementwise product, a handful of flops' time an element."""
    return T * T * (2.0 * (p + q) + 16.0)


# --- readers ------------------------------------------------------------------------------------

Used = dict[Tensor, Operation]
Read = tuple[Tensor | None, Used] | None  # the input, where it is needed, and the parameters
Watched = Callable[[Any], bool]


@dataclass(frozen=True)
class Reader:
    """How to read a call of one torch function: its arguments by name, then their meaning."""

    names: tuple[str, ...]
    defaults: dict[str, Any]
    read: Callable[[dict[str, Any], Watched, Tensor], Read]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        rest = {"operands": args[len(self.names) :]}
        return {**rest, **self.defaults, **dict(zip(self.names, args, strict=False)), **kwargs}


READERS: dict[Any, Reader] = {}
# run in place of a torch function, so that the calls inside it are seen; NotImplemented: not this call
OPENED: dict[Any, Callable[..., Any]] = {}
# of a call's arguments, before it is made: raise ValueError for what has no per-sample gradient
REFUSALS: dict[Any, Callable[[dict[str, Any]], None]] = {}

_Read = Callable[[dict[str, Any], Watched, Tensor], Read]


def reads(*functions: Any, names: str, **defaults: Any) -> Callable[[_Read], _Read]:
    """Register a reader of ``functions``, whose arguments are called ``names``."""

    def register(read: _Read) -> _Read:
        READERS.update(dict.fromkeys(functions, Reader(tuple(names.split()), defaults, read)))
        return read

    return register
