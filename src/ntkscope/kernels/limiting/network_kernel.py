"""The limiting kernel of a fully connected network, formed tile by tile."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.devices import sides
from ntkscope._base.specs import unknown
from ntkscope.kernels.index import Index, count, place
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.directions import Angles
from ntkscope.kernels.limiting.error import kernel_error
from ntkscope.kernels.limiting.homogeneous import Gram, HomogeneousChain
from ntkscope.kernels.limiting.recursion import (
    assemble,
    check_get,
    effective_width,
    scales_of,
)
from ntkscope.kernels.limiting.smooth import SmoothChain
from ntkscope.kernels.limiting.univariate import Outside, Univariate
from ntkscope.networks.network import Network

_TILE = (256, 512)  # rows and columns of a tile: a few of them stay in a core's cache


class LimitingKernel(Kernel):
    """A limiting kernel of shape (N, M), formed tile by tile.

    What a kernel can, it does for the first matrix that ``get`` names, "ntk" or "nngp";
    :meth:`parts` and :meth:`whole` give everything that is named.
    """

    covers = "the exact limiting kernel of these inputs"

    def __init__(
        self,
        net: Network,
        X: Tensor,
        X2: Tensor | None,
        get: str | tuple[str, ...],
        reduce: str | int,
        accuracy: float,
    ) -> None:
        self._arguments = (X, X2, reduce, accuracy)
        self.network, self.get = net, get
        self.names = check_get(get)
        if net.paired and "nngp" in self.names:
            raise ValueError(
                "the outputs of a bombari2022-paired network are 0 at the start, and so is its "
                'nngp kernel; use get="G" for the covariances of its layers'
            )
        self.scales = scales_of(net, _outputs(net, reduce))
        width = effective_width(net)
        self.chain: HomogeneousChain | SmoothChain
        if net.activation.homogeneity == 1:
            self.chain = HomogeneousChain(self.scales, net.activation, X, X2, width)
        else:
            self.chain = SmoothChain(self.scales, net.activation, X, X2, width, accuracy)
        self._fast = self._univariate()
        self._exact = self._diagonals() if self.symmetric else {}
        self._require_finite()

    @property
    def shape(self) -> tuple[int, int]:
        X, X2 = self._arguments[:2]
        return len(X), len(X if X2 is None else X2)

    @property
    def dtype(self) -> torch.dtype:
        return self._arguments[0].dtype

    @property
    def device(self) -> torch.device:
        return self._arguments[0].device

    @property
    def symmetric(self) -> bool:
        return self._arguments[1] is None

    @property
    def semidefinite(self) -> bool:
        return self.symmetric

    def __repr__(self) -> str:
        return f"LimitingKernel(shape={self.shape}, get={self.get!r}, network={self.network})"

    def entry_error(self) -> float:
        """Truncation and rounding, relative to √(K_ii K_jj); derived in ``limiting/error.py``."""
        return self._entry_error

    @cached_property
    def _entry_error(self) -> float:
        polynomial = self._fast.error if self._fast is not None else 0.0
        return kernel_error(self.chain.errors()) + polynomial

    def _univariate(self) -> Univariate | None:
        """The whole chain as one function of ρ, where there is one."""
        chain, names = self.chain, self.names
        one = self.scales.homogeneous and set(names) <= {"ntk", "nngp"}
        if not (one and isinstance(chain, HomogeneousChain) and self.device.type == "cpu"):
            return None

        def exact(seen: Angles, rows: Tensor, cols: Tensor) -> dict[str, list[Tensor]]:
            return assemble(self.scales, chain.walk(Gram(rows, cols, seen.delta), seen), names)

        return Univariate(chain.left, chain.right, exact, names, self.scales.depth - 1)

    def _diagonals(self) -> dict[str, list[Tensor]]:
        return assemble(self.scales, self.chain.diagonal(), self.names)

    def _require_finite(self) -> None:
        for tensors in self._exact.values():
            for tensor in tensors:
                if not bool(torch.isfinite(tensor).all()):
                    raise ValueError(
                        "the kernel overflows on these data (its diagonal is not finite); "
                        "scale the rows of X or β_l down"
                    )

    def _layers(
        self,
        rows: slice | Tensor,
        cols: slice | Tensor,
        corner: tuple[int, int],
        later: list[Outside],
    ) -> dict[str, list[Tensor]]:
        """One tile of everything. What :class:`Univariate` leaves out joins ``later``, placed from
        the tile's ``corner`` in the result."""
        if self._fast is not None:
            made = self._fast.tile(rows, cols, self._own(rows, cols))
            if made is not None:
                if made[1] is not None:
                    later.append(made[1].shifted(*corner))
                return made[0]
        return assemble(self.scales, self.chain.tile(rows, cols), self.names)

    def _finish(self, made: dict[str, list[Tensor]], later: list[Outside], mirror: bool) -> None:
        if self._fast is not None and later:
            pairs, values = self._fast.finish(later)
            for name, value in values.items():
                made[name][0][pairs.row, pairs.col] = value
                if mirror:
                    made[name][0][pairs.col, pairs.row] = value

    def _own(self, rows: slice | Tensor, cols: slice | Tensor) -> Tensor | None:
        """Positions in a tile of samples paired with themselves, None if there are none."""
        if not self.symmetric:
            return None
        if isinstance(rows, slice) and isinstance(cols, slice):
            low, high = max(rows.start, cols.start), min(rows.stop, cols.stop)
            if low >= high:
                return None
            both = torch.arange(low, high, device=self.device)
            return torch.stack([both - rows.start, both - cols.start], 1)
        same = _numbers(rows, self.device)[:, None] == _numbers(cols, self.device)[None, :]
        return torch.nonzero(same) if bool(same.any()) else None

    def _computed(
        self,
        rows: slice | Tensor,
        cols: slice | Tensor,
        corner: tuple[int, int],
        later: list[Outside],
    ) -> dict[str, list[Tensor]]:
        """The same; where the tile crosses the diagonal, that is exact."""
        made = self._layers(rows, cols, corner, later)
        own = self._own(rows, cols)
        if own is not None:
            samples = _numbers(rows, self.device)[own[:, 0]]
            for name, tensors in made.items():
                for tensor, exact in zip(tensors, self._exact[name], strict=True):
                    tensor[own[:, 0], own[:, 1]] = exact[samples]
        return made

    def parts(self, rows: Index, cols: Index) -> Any:
        """K[rows, cols] of everything that ``get`` names, in its form."""
        r, c = (place(x, n, self.device) for x, n in zip((rows, cols), self.shape, strict=True))
        made = self._empty(count(r), count(c))
        self._write(made, r, c)
        return self._answer(made)

    def _write(self, made: dict[str, list[Tensor]], r: slice | Tensor, c: slice | Tensor) -> None:
        n_rows, n_cols = count(r), count(c)
        height, width = sides(_TILE, self.device)
        later: list[Outside] = []
        for i in range(0, n_rows, height):
            for j in range(0, n_cols, width):
                block = self._computed(
                    _sub(r, i, height, n_rows), _sub(c, j, width, n_cols), (i, j), later
                )
                self._place(made, block, i, j, mirror=False)
        self._finish(made, later, mirror=False)

    def whole(self) -> Any:
        """Everything that ``get`` names, the halves of a symmetric kernel computed once."""
        made = self._empty(*self.shape)
        self._write_all(made)
        return self._answer(made)

    def _write_all(self, made: dict[str, list[Tensor]]) -> None:
        N, M = self.shape
        if not self.symmetric:
            self._write(made, slice(0, N), slice(0, M))
            return
        height, width = sides(_TILE, self.device)
        later: list[Outside] = []
        for i in range(0, N, height):
            rows = slice(i, min(i + height, N))
            corner = self._computed(rows, rows, (i, i), later)
            for tensors in corner.values():
                for tensor in tensors:
                    # a product may round (i, j) and (j, i) apart
                    tensor.copy_(torch.triu(tensor) + torch.triu(tensor, 1).T)
            self._place(made, corner, i, i, mirror=False)
            for j in range(rows.stop, N, width):
                block = self._layers(rows, slice(j, min(j + width, N)), (i, j), later)
                self._place(made, block, i, j, mirror=True)
        self._finish(made, later, mirror=True)

    def _place(
        self,
        made: dict[str, list[Tensor]],
        block: dict[str, list[Tensor]],
        i: int,
        j: int,
        mirror: bool,
    ) -> None:
        for name, tensors in block.items():
            for out, tensor in zip(made[name], tensors, strict=True):
                n, m = tensor.shape
                out[i : i + n, j : j + m] = tensor
                if mirror:
                    # torch transposes quickly into contiguous targets only
                    out[j : j + m, i : i + n] = tensor.T.contiguous()

    def _count(self, name: str) -> int:
        return {"ntk": 1, "nngp": 1, "G_dot": self.scales.depth - 1}.get(name, self.scales.depth)

    def _empty(self, n: int, m: int) -> dict[str, list[Tensor]]:
        """Room for everything. Raises NotEnoughMemoryError where there is none."""
        counts = {name: self._count(name) for name in self.names}
        total = sum(counts.values())
        memory.require(
            8.0 * n * m * total,
            f"forming {total} limiting kernel{'s' * (total > 1)} of {n}×{m} in float64",
            "use limiting_ntk(..., tile=(rows, cols)) for parts, or "
            "limiting_kernel(net, X) @ v, which keeps one panel at a time",
            self.device,
        )
        return {
            name: [torch.empty(n, m, dtype=self.dtype, device=self.device) for _ in range(number)]
            for name, number in counts.items()
        }

    def _answer(self, made: dict[str, list[Tensor]]) -> Any:
        values = [made[n][0] if n in ("ntk", "nngp") else made[n] for n in self.names]
        return values[0] if isinstance(self.get, str) else tuple(values)

    def _require_matrix(self) -> None:
        if self.names[0] not in ("ntk", "nngp"):
            raise ValueError(f'a matrix needs get="ntk" or "nngp" (first), got {self.get!r}')

    def tile(self, rows: Index, cols: Index) -> Tensor:
        self._require_matrix()
        made = self.parts(rows, cols)
        first: Tensor = made if isinstance(self.get, str) else made[0]
        return first

    def _fill(self, out: Tensor) -> None:
        self._require_matrix()
        if len(self.names) == 1:
            self._write_all({self.names[0]: [out]})
        else:
            out.copy_(self.whole()[0])

    def _diagonal(self) -> Tensor:
        """From one-dimensional integrals."""
        self._require_matrix()
        return self._exact[self.names[0]][0].clone()

    @property
    def T(self) -> LimitingKernel:
        X, X2, reduce, accuracy = self._arguments
        if X2 is None:
            return self
        return LimitingKernel(self.network, X2, X, self.get, reduce, accuracy)


def _numbers(index: slice | Tensor, device: torch.device) -> Tensor:
    if isinstance(index, slice):
        return torch.arange(index.start, index.stop, device=device)
    return index


def _sub(index: slice | Tensor, start: int, count: int, size: int) -> slice | Tensor:
    stop = min(start + count, size)
    if isinstance(index, slice):
        return slice(index.start + start, index.start + stop)
    return index[start:stop]


def _outputs(net: Network, reduce: str | int) -> int:
    if reduce == "trace":
        return net.n_outputs
    if isinstance(reduce, str):
        hint = " (the kernel of all pairs of outputs is kron(K, I); take reduce=0)"
        raise ValueError(unknown("reduce", reduce, ("trace",)) + ", or an output index" + hint)
    if isinstance(reduce, bool) or not 0 <= reduce < net.n_outputs:
        raise ValueError(f"reduce={reduce} names no output: the network has {net.n_outputs}")
    return 1
