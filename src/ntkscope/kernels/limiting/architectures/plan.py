"""What the limit of a module takes, said before it is formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ntkscope._base import memory
from ntkscope.kernels.limiting.architectures.kernel import ArchitectureKernel
from ntkscope.kernels.limiting.architectures.variances import Variances
from ntkscope.report.card import Card, Grid
from ntkscope.report.result import Result, Tabular


@dataclass(frozen=True)
class Step(Result):
    """One operation of the graph.

    Attributes
    ----------
    where: path and type of its module. operation: what it does to covariances. inputs: the steps
        that it reads. channels, positions: of its output. carried: ``"all pairs"`` of positions, or
        ``"same position"``. law: of its channels in the limit.
    """

    number: int
    where: str
    operation: str
    inputs: tuple[int, ...]
    channels: int
    positions: tuple[int, ...]
    carried: str
    law: str


@dataclass(frozen=True)
class LimitPlan(Tabular, Result):
    """The graph of a module, what is carried through it, and what forming its kernel takes.

    Attributes
    ----------
    steps: the operations in the order of the pass.
    n_samples: N. tile: samples along the sides of a tile.
    result_bytes: of the kernel. tile_bytes: beyond it, for one tile on each thread.
    seconds: expected for the whole kernel here, from one tile; None where none was asked for.
    """

    steps: tuple[Step, ...]
    n_samples: int
    tile: tuple[int, int]
    result_bytes: int
    tile_bytes: int
    seconds: float | None

    def __repr__(self) -> str:
        return f"LimitPlan({len(self.steps)} operations, N = {self.n_samples}, tile {self.tile[0]}×{self.tile[1]})"

    def _rows(self) -> tuple[Step, ...]:
        return self.steps

    def _card(self) -> Card:
        heads = ("", "module", "operation", "reads", "channels", "positions", "carried")
        rows = [
            (
                str(s.number), s.where, s.operation, ", ".join(map(str, s.inputs)) or "–",
                str(s.channels), "×".join(map(str, s.positions)) or "–", s.carried,
            )
            for s in self.steps
        ]  # fmt: skip
        time = "" if self.seconds is None else f", about {self.seconds:.2g} s"
        total = (
            f"N = {self.n_samples}: {memory.human(self.result_bytes)} of kernel, "
            f"{memory.human(self.tile_bytes)} for a tile of {self.tile[0]}×{self.tile[1]} samples{time}"
        )
        return Card(total, grids=[Grid("", heads, rows, labels=len(heads))])


def plan_limit(
    model: nn.Module,
    X: Any,
    *,
    variances: Variances = "measured",
    parameterization: str = "standard",
    time: bool = True,
) -> LimitPlan:
    """What :func:`limiting_ntk` will do with ``model`` on X (N, …), without forming the kernel.

    Parameters
    ----------
    variances, parameterization: as in :func:`limiting_ntk`.
    time: form one tile, to say how long the whole will take.
    model: a module.
    X: samples as the module takes them.

    Returns
    -------
    LimitPlan: the operations, with memory and expected time.

    Raises ValueError, naming the module and the reason, where there is no limit.
    """
    kernel = ArchitectureKernel(model, X, variances=variances, parameterization=parameterization)
    numbers = {node.index: i for i, node in enumerate(kernel.graph)}
    steps = tuple(
        Step(
            numbers[node.index], node.where, node.operation.describe(),
            tuple(numbers[i] for i in node.inputs), node.layout.channels, node.layout.positions,
            _carried(node.pairs, bool(node.layout.positions)), str(node.law),
        )
        for node in kernel.graph
    )  # fmt: skip
    return LimitPlan(
        steps, len(kernel), (kernel.budget.rows, kernel.budget.cols), kernel.nbytes_dense, kernel.budget.tile_bytes,
        kernel.seconds() if time else None,
    )  # fmt: skip


def _carried(pairs: bool, positions: bool) -> str:
    if not positions:
        return "one number a pair"
    return "all pairs" if pairs else "same position"
