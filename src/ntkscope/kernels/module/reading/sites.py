"""One structured call: where its samples lie, and what it keeps of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ntkscope.kernels.module.reading.independence import alike
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.trace import Call


@dataclass(frozen=True)
class Layout:
    """Where the samples lie: on ``axis``, of ``fold`` positions each, sample by sample if major."""

    axis: int
    fold: int
    major: bool = True

    def sized(self, shape: tuple[int, ...], n: int) -> tuple[int, ...]:
        """The shape with n samples."""
        return (*shape[: self.axis], n * self.fold, *shape[self.axis + 1 :])

    def arrange(self, tensor: Tensor, n: int) -> Tensor:
        """The samples' axis first; folded positions stay as an axis of their own."""
        if self.fold == 1:
            return tensor.movedim(self.axis, 0)
        sizes = (n, self.fold) if self.major else (self.fold, n)
        parts = tensor.unflatten(self.axis, sizes)
        return parts.movedim(self.axis if self.major else self.axis + 1, 0)


@dataclass(frozen=True)
class Site:
    """One structured call: its operations, layouts, and numbers held per sample (and output)."""

    index: int
    function: str
    operations: dict[str, Operation]
    x_layout: Layout | None
    g_layout: Layout
    x_shape: tuple[int, ...] | None  # of one sample, as the operations take it
    g_shape: tuple[int, ...]
    x_dtype: torch.dtype | None
    is_output: bool
    raw: tuple[
        tuple[int, ...] | None, tuple[int, ...]
    ]  # x's and g's shapes, seen with three samples

    @property
    def positions(self) -> int:
        """T: positions that a dense layer sums over; 1 for one input vector a sample."""
        return self.g_shape[0] if any(op.by_vectors for op in self.heavy.values()) else 2

    @property
    def x_size(self) -> int:
        return 0 if self.x_shape is None else math.prod(self.x_shape)

    @property
    def g_size(self) -> int:
        return math.prod(self.g_shape)

    @property
    def heavy(self) -> dict[str, Operation]:
        """Operations whose gradient is larger than a vector: x and g are kept for them."""
        return {n: op for n, op in self.operations.items() if op.heavy}

    def fits(self, call: Call, n: int) -> bool:
        """Whether a call with n samples is this layer at work on each of them."""
        x = None if call.x is None else tuple(call.x.shape)
        return (call.function, x, tuple(call.out.shape)) == (
            self.function, *self._shapes(n),
        )  # fmt: skip

    def _shapes(self, n: int) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
        x, g = self.raw
        own = None if x is None or self.x_layout is None else self.x_layout.sized(x, n)
        return own, self.g_layout.sized(g, n)

    def without(self, names: Collection[str]) -> Site:
        """The same for the other parameters."""
        return replace(
            self, operations={n: op for n, op in self.operations.items() if n not in names}
        )

    def arrange_x(self, x: Tensor, n: int) -> Tensor:
        """x as the operations take it."""
        assert self.x_layout is not None
        return self._form(self.x_layout, x, n, False)

    def arrange_g(self, g: Tensor, n: int) -> Tensor:
        return self._form(self.g_layout, g, n, True)

    def _form(self, layout: Layout, tensor: Tensor, n: int, output: bool) -> Tensor:
        arranged = layout.arrange(tensor, n)
        heavy = next(iter(self.heavy.values()), None)
        return arranged if heavy is None else heavy.form(arranged, layout.fold > 1, output)


def _same_edge(call: Call, edge: GradientEdge | None, shape: tuple[int, ...]) -> bool:
    own = call.edge
    same = (
        own is not None
        and edge is not None
        and own.node is edge.node
        and own.output_nr == edge.output_nr
    )
    return same and tuple(call.out.shape) == shape


def site_of(
    index: int, two: Call, three: Call, output: GradientEdge | None, shape: tuple[int, ...]
) -> Site | str:
    """The structured form of a call, seen with two and with three samples, or why it has none.

    ``output`` and ``shape``: of the model with three samples.
    """
    pairs = [(two.out.detach(), three.out.detach())]
    if three.x is not None and two.x is not None:
        pairs.append((two.x, three.x))
    layout = _layout(pairs, three.function)
    if isinstance(layout, str):
        return layout
    g_layout, x_layout = layout, layout if three.x is not None else None
    operations = _of_samples(three, g_layout)
    if isinstance(operations, str):
        return operations
    raw = (None if three.x is None else tuple(three.x.shape)), tuple(three.out.shape)
    site = Site(index, three.function, operations, x_layout, g_layout, None, (), None, False, raw)
    g = site.arrange_g(three.out.detach(), 3)
    x = None if three.x is None else site.arrange_x(three.x, 3)
    site = replace(
        site,
        x_shape=None if x is None else tuple(x.shape[1:]),
        g_shape=tuple(g.shape[1:]),
        x_dtype=None if x is None else x.dtype,
    )
    return replace(site, is_output=site.positions == 1 and _same_edge(three, output, shape))


def _of_samples(call: Call, layout: Layout) -> dict[str, Operation] | str:
    """The operations of a call as samples on the first axis see them, or why they cannot."""
    heavy = next((op for op in call.operations.values() if op.heavy), None)
    shapes = tuple(call.out.shape if call.x is None else call.x.shape), tuple(call.out.shape)
    if heavy is not None and not heavy.takes(*shapes, layout.axis):
        return f"{call.function} on axes that are not a batch of layers' inputs"
    found: dict[str, Operation] = {}
    for name, operation in call.operations.items():
        own = operation.for_samples(call.out.ndim, layout.axis, layout.fold > 1)
        if own is None:
            return f"{name} differs from sample to sample"
        found[name] = own if heavy is None else own.beside(heavy)
    return found


def _layout(pairs: Sequence[tuple[Tensor, Tensor]], function: str) -> Layout | str:
    """The samples' axis of a call's tensors, seen with two and with three samples: the one whose size follows the
    batch, confirmed by the values on it. Several tensors have one axis."""
    common: list[Layout] | None = None
    for two, three in pairs:
        found = _layouts(two, three)
        if isinstance(found, str):
            return found
        common = found if common is None else [layout for layout in common if layout in found]
    if not common:
        return f"{function} moves the samples to another axis"
    if len(common) > 1:
        return "a layer's inputs do not show which sample they come from"
    return common[0]


def _layouts(two: Tensor, three: Tensor) -> list[Layout] | str:
    """All that fit."""
    if two.ndim != three.ndim:
        return "a layer's inputs change their number of axes with the batch"
    moved = [i for i, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if len(moved) != 1:
        return "a layer's inputs hold no single axis of samples"
    axis = moved[0]
    fold, rest = divmod(two.shape[axis], 2)
    if rest or three.shape[axis] != 3 * fold:
        return "a layer's inputs do not grow with the batch"
    candidates = [Layout(axis, fold)] + ([Layout(axis, fold, False)] if fold > 1 else [])
    fitting = [c for c in candidates if alike(c.arrange(two, 2), c.arrange(three, 3)[:2])]
    return fitting or "a layer's values depend on the rest of the batch"
