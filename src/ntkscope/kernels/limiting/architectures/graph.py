"""A module as a graph of operations on covariances: what each tensor's axes are, and its law."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ntkscope.kernels.limiting.architectures.operation import Operation

CHANNELS = -1  # the atom of an axis that counts channels


class Law(StrEnum):
    """What the channels of a tensor are in the limit."""

    GAUSSIAN = "Gaussian"  # i.i.d. over channels, mean zero
    FEATURES = "features"  # i.i.d. over channels, not Gaussian
    MIXED = "mixed"  # of several kinds, or with fixed parts


@dataclass(frozen=True)
class Layout:
    """How a tensor (batch, *axes) stores channels and positions.

    positions: sizes of the position axes, in the order in which covariances hold them. axes: for
    each axis behind the batch the atoms that it runs over, the last fastest: ``CHANNELS`` or the
    number of a position axis.
    """

    channels: int
    positions: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shape: Sequence[int], channel_axis: int) -> Layout:
        """Of a tensor with ``shape`` behind the batch, one axis of which counts channels."""
        channel_axis %= len(shape)
        positions = [n for i, n in enumerate(shape) if i != channel_axis]
        atoms = list(range(len(positions)))
        atoms.insert(channel_axis, CHANNELS)
        return cls(shape[channel_axis], tuple(positions), tuple((a,) for a in atoms))

    def size(self, atom: int) -> int:
        return self.channels if atom == CHANNELS else self.positions[atom]

    def shape(self) -> tuple[int, ...]:
        """Of the tensor, behind the batch."""
        sizes = []
        for atoms in self.axes:
            size = 1
            for atom in atoms:
                size *= self.size(atom)
            sizes.append(size)
        return tuple(sizes)

    @property
    def n_positions(self) -> int:
        total = 1
        for n in self.positions:
            total *= n
        return total


@dataclass(frozen=True)
class Node:
    """One operation at its place.

    where: path and type of the module that runs it. sources: nodes whose values it is a sum of,
    each with channels of one origin (weights, an activation, data). ancestors: every node that it
    depends on, itself included. pairs: whether covariances of different positions are wanted.
    """

    index: int
    operation: Operation
    inputs: tuple[int, ...]
    layout: Layout
    law: Law
    where: str
    sources: frozenset[int]
    ancestors: frozenset[int]
    pairs: bool = False


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of the pass, the ``needed`` ones those that ``output`` depends on."""

    nodes: tuple[Node, ...]
    output: int
    needed: frozenset[int]

    def __iter__(self) -> Iterator[Node]:
        return (n for n in self.nodes if n.index in self.needed)

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]
