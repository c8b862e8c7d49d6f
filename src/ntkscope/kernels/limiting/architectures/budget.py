"""What a tile takes: samples, memory, and passes over its entries."""

from __future__ import annotations

from dataclasses import dataclass

from ntkscope._base import memory
from ntkscope.kernels.limiting.architectures.graph import Graph

_ENTRIES = 1 << 19  # of the largest covariance in a tile: 4 MB
_LARGEST = 256
_HELD = 6  # covariances at once: D and T of an operation's inputs and outputs, and a sum


@dataclass(frozen=True)
class Budget:
    """rows, cols: samples along the sides of a tile. entries: pairs of positions of the largest node."""

    rows: int
    cols: int
    entries: int
    tile_bytes: int
    passes: float
    mixes: bool


def budget_of(graph: Graph) -> Budget:
    """Raises NotEnoughMemoryError where not even one pair of samples fits."""
    largest, passes = 1, 0.0
    for node in graph:
        for i in (node.index, *node.inputs):
            sizes = graph[i].layout.n_positions ** (2 if graph[i].pairs else 1)
            largest = max(largest, sizes)
            if i == node.index:
                passes += sizes * node.operation.passes
    rows = cols = max(1, min(_LARGEST, int((_ENTRIES / largest) ** 0.5)))
    nbytes = 8 * largest * rows * cols * _HELD
    memory.require(
        nbytes, f"a tile of {rows}×{cols} samples with {largest} pairs of positions",
        "use smaller images, or flatten in place of pooling",
    )  # fmt: skip
    return Budget(rows, cols, largest, nbytes, passes, any(n.operation.mixes for n in graph))
