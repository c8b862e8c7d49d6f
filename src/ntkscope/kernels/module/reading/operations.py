"""What a layer does with its parameter, as far as its per-sample gradient is concerned.

Each operation takes the layer's inputs x and the gradients g of the outputs with respect to the
layer's outputs, and gives the gradient with respect to the parameter for each sample and output.
Shapes: n samples, C outputs of the model, k inner positions folded into the batch, T = all
positions that a sample sums over, P = entries of the parameter. Axes stay in the order n, C, ….
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# [(n, T, p)] and [(n, C, T, q)], one of each for every group of a layer
Pairs = tuple[list[Tensor], list[Tensor]]


class Operation(ABC):
    """Final subclasses are frozen: two records of a forward pass are compared by them."""

    kind: str
    is_outer: bool = False  # whether the gradient is the matrix Σ_t g_t a_tᵀ of :meth:`pairs`
    unit_axis: int = 3  # of g, where it is outer: the layer's output units

    @abstractmethod
    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        """∂f/∂p[part] of each sample and output: (n, C, P′), rows ``part`` of the parameter."""

    def pairs(self, x: Tensor, g: Tensor) -> Pairs | None:
        """[(n, T, p)] and [(n, C, T, q)] with gradient Σ_t a_t g_tᵀ, one pair for each group.

        None where the gradient is no sum of outer products.
        """
        del x, g
        return None

    def agreement(self, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        """The inner products of the rows of two flattened factors a: (r, p) and b: (s, p)."""
        del dtype
        return a @ b.T

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        """Flops for one pair of samples through :meth:`pairs`; infinite where there are none."""
        del x, g
        return math.inf

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """(n, C): at least Σ_t ‖x_t‖ ‖g_t‖, the size of the sums behind the gradient's entries."""
        left, right = self.pairs(x, g) or ([], [])
        if not left:
            return torch.linalg.vector_norm(g.flatten(2), dim=2)
        total = g.new_zeros(g.shape[:2])
        for a, b in zip(left, right, strict=True):
            one = self.kind == "embedding"  # its rows are unit vectors
            norms = 1.0 if one else torch.linalg.vector_norm(a, dim=2)[:, None]
            total += (norms * torch.linalg.vector_norm(b, dim=3)).sum(dim=2)
        return total

    def forming_flops(self, g: Tensor, size: int) -> float:
        """Flops of one sample's :meth:`gradient`, for a parameter of ``size`` entries."""
        del size
        return 2.0 * g[0].numel()


@dataclass(frozen=True)
class Dense(Operation):
    """y = x Wᵀ (``transposed``: y = x W); x: (n, T, p), g: (n, C, T, q)."""

    transposed: bool
    kind = "linear"
    is_outer = True

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C, T, _ = g.shape
        if self.transposed:  # W is (p, q): part selects inputs
            # (n, p, T) @ (n, C, T, q) → (n, C, p, q)
            left = x[:, :, part].transpose(1, 2)[:, None]
            return torch.matmul(left, g).reshape(n, C, -1)
        rows = g[..., part]
        stacked = rows.permute(0, 1, 3, 2).reshape(n, -1, T)  # (n, C·q′, T)
        return torch.bmm(stacked, x).reshape(n, C, -1)

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        return [x], [g]

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        _, C, T, q = g.shape
        return _pair_flops(T, x.shape[2], C * q)

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() * size / g.shape[3]


@dataclass(frozen=True)
class Convolution(Operation):
    """torch.conv1d/2d/3d; x: (n, k, c, *S), g: (n, C, k, q, *O)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    is_outer = True

    @property
    def kind(self) -> str:  # type: ignore[override]  # a constant of the other operations
        return f"conv{len(self.kernel)}d"

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C = g.shape[:2]
        q = g.shape[3]
        chosen = range(q)[part]
        per_group = q // self.groups
        pieces = []
        for group in range(chosen.start // per_group, (chosen.stop - 1) // per_group + 1):
            low = max(chosen.start, group * per_group)
            high = min(chosen.stop, (group + 1) * per_group)
            patches = self._patches(x, group)  # (n, T, p)
            rows = g[:, :, :, low:high].flatten(4)  # (n, C, k, q′, O)
            rows = rows.permute(0, 1, 3, 2, 4).reshape(n, C * (high - low), -1)
            pieces.append(torch.bmm(rows, patches).reshape(n, C, -1))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        n, C, _, q = g.shape[:4]
        per_group = q // self.groups
        a = [self._patches(x, group) for group in range(self.groups)]
        flat = g.flatten(4).permute(0, 1, 2, 4, 3).reshape(n, C, -1, q)  # (n, C, T, q)
        b = [flat[..., i * per_group : (i + 1) * per_group] for i in range(self.groups)]
        return a, b

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        C, k, q = g.shape[1:4]
        T = k * math.prod(g.shape[4:])
        p = x.shape[2] // self.groups * math.prod(self.kernel)
        return self.groups * _pair_flops(T, p, C * q // self.groups)

    def magnitude(self, x: Tensor, g: Tensor) -> Tensor:
        """As the base has it, the norms of the patches by a convolution with ones."""
        n, C, _, q = g.shape[:4]
        per_group, total = q // self.groups, g.new_zeros(g.shape[:2])
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.kernel) - 1]
        ones = x.new_ones(1, 1, *self.kernel)
        width = x.shape[2] // self.groups
        for group in range(self.groups):
            own = x[:, :, group * width : (group + 1) * width].square().sum(dim=2)
            own = F.pad(own.flatten(0, 1)[:, None], self._pads)
            squares = convolve(own, ones, None, self.stride, 0, self.dilation)
            norms = squares.sqrt().view(n, 1, -1)
            signals = g[:, :, :, group * per_group : (group + 1) * per_group].square().sum(dim=3)
            total += (norms * signals.sqrt().reshape(n, C, -1)).sum(dim=2)
        return total

    def forming_flops(self, g: Tensor, size: int) -> float:
        return 2.0 * g[0].numel() * size / g.shape[3]

    @property
    def _pads(self) -> list[int]:
        """For F.pad: the last axis first."""
        return [p for pair in zip(self.before[::-1], self.after[::-1], strict=True) for p in pair]

    def _patches(self, x: Tensor, group: int) -> Tensor:
        """(n, T, c/groups·Πkernel): the inputs under each position of the kernel."""
        n, k, c = x.shape[:3]
        width = c // self.groups
        x = x[:, :, group * width : (group + 1) * width].reshape(n * k, width, *x.shape[3:])
        pads, d = self._pads, len(self.kernel)
        if d == 2 and self.before == self.after and k == 1:
            columns = F.unfold(x, self.kernel, self.dilation, self.before, self.stride)
            return columns.transpose(1, 2)
        if any(pads):
            x = F.pad(x, pads)
        for axis in range(d):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            x = x.unfold(2 + axis, reach, self.stride[axis])[..., :: self.dilation[axis]]
        # (n·k, width, *O, *kernel) → (n, k·O, width·kernel)
        positions = range(2, 2 + d)
        x = x.permute(0, *positions, 1, *range(2 + d, 2 + 2 * d))
        return x.reshape(n, -1, width * math.prod(self.kernel))


@dataclass(frozen=True)
class Lookup(Operation):
    """y = W[x]; x: (n, T) indices, g: (n, C, T, q); the padding row gets no gradient."""

    rows: int
    padding: int | None
    kind = "embedding"

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        n, C, T, q = g.shape
        chosen = range(self.rows)[part]
        g = self._masked(x, g)
        inside = (x >= chosen.start) & (x < chosen.stop)
        target = torch.where(inside, x - chosen.start, 0)[:, None, :, None].expand(n, C, T, q)
        out = g.new_zeros(n, C, len(chosen), q)
        out.scatter_add_(2, target, g * inside[:, None, :, None])
        return out.reshape(n, C, -1)

    def pairs(self, x: Tensor, g: Tensor) -> Pairs:
        return [x[..., None]], [self._masked(x, g)]

    def agreement(self, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        return (a == b.T).to(dtype)

    def pair_flops(self, x: Tensor, g: Tensor) -> float:
        del x
        _, C, T, q = g.shape
        return _pair_flops(T, 1, C * q)

    def _masked(self, x: Tensor, g: Tensor) -> Tensor:
        return g if self.padding is None else g * (x != self.padding)[:, None, :, None]


@dataclass(frozen=True)
class Scale(Operation):
    """y = p ∘ x, p broadcast; x: (n, *rest), g: (n, C, *rest); ``shape`` is p's, of rest's axes."""

    shape: tuple[int, ...]
    sign: float = 1.0
    kind = "scale"

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        return _reduce(g * x[:, None], self.shape, self.sign, part)


@dataclass(frozen=True)
class Shift(Operation):
    """y = x + p, p broadcast; g: (n, C, *rest); x is not needed."""

    shape: tuple[int, ...]
    sign: float = 1.0
    kind = "shift"

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        del x
        return _reduce(g, self.shape, self.sign, part)


@dataclass(frozen=True)
class Ready(Operation):
    """A gradient that is held already: g is (n, C, P) of a parameter whose first axis is ``rows``."""

    rows: int
    kind = "gradient"

    def gradient(self, x: Tensor, g: Tensor, part: slice) -> Tensor:
        del x
        if part == slice(None):
            return g
        return g.reshape(*g.shape[:2], self.rows, -1)[:, :, part].flatten(2)


def _reduce(g: Tensor, shape: tuple[int, ...], sign: float, part: slice) -> Tensor:
    """Sum (n, C, *rest) over the axes along which a parameter of ``shape`` was broadcast."""
    full = (1,) * (g.ndim - 2 - len(shape)) + shape
    axes = [2 + i for i, size in enumerate(full) if size == 1 and g.shape[2 + i] != 1]
    summed = g.sum(axes) if axes else g
    flat = summed.reshape(*g.shape[:2], -1)
    flat = flat if part == slice(None) else flat[..., part]
    return flat if sign == 1.0 else flat * sign


def _pair_flops(T: int, p: int, q: int) -> float:
    """Two Gram tiles of T×T and their elementwise product, a handful of flops' time an element."""
    return T * T * (2.0 * (p + q) + 16.0)
