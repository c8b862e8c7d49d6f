"""Average pooling, means and sums over positions: fixed linear maps M, S → M S Mᵀ, T → M T Mᵀ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Layout, Node
from ntkscope.kernels.limiting.architectures.operation import (
    Error,
    Operation,
    Passed,
    Seen,
    State,
    U,
)
from ntkscope.kernels.limiting.architectures.operations.weights import each
from ntkscope.kernels.limiting.architectures.pairs import Pairing, dims
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True, eq=False)
class Pooling(Operation):
    """matrices: (out, in) by position axis. dropped: axes of one position that are gone behind it."""

    kind: str
    matrices: dict[int, Tensor]
    dropped: tuple[int, ...] = ()
    mixes = True

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        raise NotImplementedError  # mixes: the covariance of a sample with itself is needed

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        """S and not D, since the output's variances come from it."""
        (seen,) = inputs
        k = seen.left.ndim - 1
        S = self._apply(seen.distance, k, True) * -seen.scale
        ones = torch.ones(*seen.left.shape[:-1], 1, dtype=seen.left.dtype)
        total = self._apply(ones, k, False)
        rows, cols = (self._apply(V, k, False) * 0.5 for V in (seen.left, seen.right))
        S += at.rows(rows, True) * self._single(total, left=False)
        S += at.cols(cols, True) * self._single(total, left=True)
        T = None if seen.tangent is None else self._apply(seen.tangent, k, True) * seen.scale
        return Passed(S, T)

    @staticmethod
    def _single(total: Tensor, left: bool) -> Tensor:
        k = total.ndim - 1
        shape = total.shape[:-1]
        return (
            total.reshape(*shape, *(1,) * (k + 3))
            if left
            else total.reshape(*(1,) * (k + 1), *shape, 1, 1)
        )

    def _apply(self, x: Tensor, k: int, pairs: bool) -> Tensor:
        # the left side's axes come first: sums over leading axes are the fast ones
        steps = sorted((d, a) for a in self.matrices for d in dims(a, k, pairs))
        for d, axis in steps:
            matrix = self.matrices[axis]
            if len(matrix) == 1 and bool((matrix == matrix[0, 0]).all()):
                x = x.sum(d, keepdim=True).mul_(float(matrix[0, 0]))
            else:
                x = torch.tensordot(matrix, x, dims=([1], [d])).movedim(0, d)
        for d, axis in reversed(steps):
            if axis in self.dropped:
                x = x.squeeze(d)
        return x

    def row_sums(self, V: Tensor) -> Tensor:
        """M V, V (*positions, N)."""
        return self._apply(V, V.ndim - 1, False)

    def error(self, inputs: list[Error], before: list[Seen], seen: Seen) -> Error:
        """Relative accuracy of D is lost; averages may be smaller than what they are averages of."""
        (e,) = inputs
        rounding = 2 * U * sum(m.shape[1] for m in self.matrices.values())
        grown = seen.amplification
        return Error(
            0.0,
            grown * (e.of_covariance(before[0].spread) + rounding),
            0.0,
            grown * (e.tangent + rounding),
        )

    def describe(self) -> str:
        sizes = "×".join(f"{m.shape[1]}→{m.shape[0]}" for m in self.matrices.values())
        return f"{self.kind} {sizes}"


def _pooled(call: Call, kind: str, matrices: dict[int, Tensor]) -> Made:
    x = call["input"]
    node = _known(call, x)
    positions = tuple(
        len(matrices[a]) if a in matrices else n for a, n in enumerate(node.layout.positions)
    )
    layout = Layout(node.layout.channels, positions, node.layout.axes)
    return Made(Pooling(kind, matrices), (x,), layout, node.law)


def _known(call: Call, x: Tensor) -> Node:
    node = call.node(x)
    assert node is not None
    return node


def _position_axes(call: Call, node: Node, axes: list[int]) -> list[int]:
    """The atoms of tensor axes (numbered behind the batch) that hold one position axis each."""
    found = []
    for axis in axes:
        atoms = node.layout.axes[axis]
        if CHANNELS in atoms:
            raise call.refuse("it averages over channels, which loses them all at infinite width")
        if len(atoms) != 1:
            raise call.refuse("it pools over positions that are joined in one axis")
        found.append(atoms[0])
    return found


def _pooled_by(call: Call, node: Node, d: int, pool: Callable[[Tensor, int], Tensor]) -> Made:
    """The last d axes averaged, axis i by ``pool(rows, i)``, whose matrix is read off unit rows."""
    n_axes = len(node.layout.axes)
    atoms = _position_axes(call, node, list(range(n_axes - d, n_axes)))
    matrices = {}
    for i, atom in enumerate(atoms):
        unit = torch.eye(node.layout.positions[atom], dtype=torch.float64)[:, None]
        with torch._C.DisableTorchFunction():
            matrices[atom] = pool(unit, i)[:, 0].T.contiguous()
    return _pooled(call, "average pooling", matrices)


def _read_average(d: int) -> Any:
    def read(call: Call) -> Made:
        node = _known(call, call["input"])
        if call["divisor_override"]:
            raise call.refuse("divisor_override is not supported; scale the output instead")
        kernel = each(call["kernel_size"], d)
        stride = kernel if call["stride"] in (None, []) else each(call["stride"], d)
        padding = each(call["padding"], d)

        def pool(unit: Tensor, i: int) -> Tensor:
            return F.avg_pool1d(
                unit, kernel[i], stride[i], padding[i],
                bool(call["ceil_mode"]), bool(call["count_include_pad"]),
            )  # fmt: skip

        return _pooled_by(call, node, d, pool)

    return read


for _d, _function in ((1, F.avg_pool1d), (2, F.avg_pool2d), (3, F.avg_pool3d)):
    reads(
        _function,
        names="input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        defaults={
            "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True,
            "divisor_override": None,
        },
    )(_read_average(_d))  # fmt: skip


def _read_adaptive(d: int) -> Any:
    def read(call: Call) -> Made:
        node = _known(call, call["input"])
        asked = call["output_size"]
        sizes = tuple(asked) if isinstance(asked, (tuple, list)) else (asked,) * d

        def pool(unit: Tensor, i: int) -> Tensor:
            return F.adaptive_avg_pool1d(unit, unit.shape[-1] if sizes[i] is None else sizes[i])

        return _pooled_by(call, node, d, pool)

    return read


_ADAPTIVE = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
for _d, _adaptive in enumerate(_ADAPTIVE, 1):
    reads(_adaptive, names="input output_size")(_read_adaptive(_d))


def _read_total(mean: bool) -> Any:
    def read(call: Call) -> Made:
        x = call["input"]
        node = _known(call, x)
        if call["dim"] is None:
            raise call.refuse("it reduces over the samples too; give dim=")
        asked = call["dim"]
        axes = [a % x.ndim for a in (asked if isinstance(asked, (tuple, list)) else (asked,))]
        if 0 in axes:
            raise call.refuse("it reduces over the samples")
        atoms: list[int] = []
        for axis in axes:
            inside = node.layout.axes[axis - 1]
            if CHANNELS in inside:
                raise call.refuse("it averages over channels, which loses them at infinite width")
            atoms += inside
        matrices = {}
        for atom in atoms:
            size = node.layout.positions[atom]
            matrices[atom] = torch.full((1, size), 1.0 / size if mean else 1.0, dtype=torch.float64)
        keep = bool(call["keepdim"])
        renumbered = {
            a: i
            for i, a in enumerate(a for a in range(len(node.layout.positions)) if a not in atoms)
        }
        left = [
            tuple(a if a == CHANNELS else renumbered[a] for a in inside if a not in atoms)
            for i, inside in enumerate(node.layout.axes, 1)
            if keep or i not in axes
        ]
        positions = tuple(n for a, n in enumerate(node.layout.positions) if a not in atoms)
        kind = "mean over positions" if mean else "sum over positions"
        layout = Layout(node.layout.channels, positions, tuple(left))
        return Made(Pooling(kind, matrices, tuple(atoms)), (x,), layout, node.law)

    return read


for _mean, _functions in ((True, (torch.mean, Tensor.mean)), (False, (torch.sum, Tensor.sum))):
    reads(*_functions, names="input dim keepdim", defaults={"dim": None, "keepdim": False})(
        _read_total(_mean)
    )
