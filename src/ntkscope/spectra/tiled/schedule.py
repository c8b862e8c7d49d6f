"""The next step of a tiled Cholesky factorisation, without numbers, files and workers.

Tile (i, j) of the factor, i ≥ j, is A_ij minus the products L_ik L_jkᵀ for k < j, then factored (i = j)
or solved with L_jj. A product can be subtracted when both of its factors are finished. This can take
several steps; between them the tile is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_BATCH = 8  # products of a step that does not finish its tile
_COLUMNS = 8  # looked through at once


@dataclass(frozen=True)
class Step:
    """Subtract products ``start`` to ``stop`` − 1 from tile (i, j); ``last``: then finish it."""

    i: int
    j: int
    start: int
    stop: int
    last: bool


class Schedule:
    """The open steps; those that finish a tile of an early column come first.

    Row i is finished from left to right, so ``ready[i]``, its number of finished tiles, describes it: L_ik L_jkᵀ
    is available for k < min(ready[i], ready[j]), and (i, j) can be finished when (i, j − 1) and (j, j) are.

    Parameters
    ----------
    count: tiles in a row.
    put_aside: (i, j) → products already subtracted, for tiles stored between steps.
    ready: finished tiles of each row, if a run resumes; none by default.
    """

    def __init__(
        self,
        count: int,
        ready: list[int] | None = None,
        put_aside: Mapping[tuple[int, int], int] | None = None,
    ) -> None:
        self.count = count
        self.ready = np.array(ready or [0] * count, dtype=np.int64)
        self._taken = np.zeros((count, count), dtype=np.int64)
        for place, products in (put_aside or {}).items():
            self._taken[place] = products
        self._busy = np.triu(np.ones((count, count), dtype=bool), 1)
        self._rows = np.arange(count)
        self._busy |= self._rows[None, :] < self.ready[:, None]  # what is finished is not given out
        self.running = 0

    @property
    def ended(self) -> bool:
        return bool(self.ready[-1] == self.count)

    @property
    def share(self) -> float:
        """The part of the tiles that is finished."""
        return float(self.ready.sum()) / (self.count * (self.count + 1) / 2)

    def next(self, *, ahead: bool = True) -> Step | None:
        """The next step, or None while every open step waits for running ones.

        ``ahead`` allows steps that do not finish a tile, for workers that are otherwise idle.
        """
        step = self._finishing()
        if step is None and ahead:
            step = self._ahead()
        if step is not None:
            self._busy[step.i, step.j] = True
            self.running += 1
        return step

    def done(self, step: Step) -> None:
        """Record that a step has ended."""
        self._busy[step.i, step.j] = step.last
        self._taken[step.i, step.j] = step.stop
        self.ready[step.i] += step.last
        self.running -= 1

    def _finishing(self) -> Step | None:
        open_rows = self._rows[self.ready <= self._rows]
        columns = self.ready[open_rows]
        on_diagonal = columns == open_rows
        solved_by = self.ready[columns] == columns + 1
        usable = (on_diagonal | solved_by) & ~self._busy[open_rows, columns]
        if not usable.any():
            return None
        rows, columns, on_diagonal = open_rows[usable], columns[usable], on_diagonal[usable]
        # a diagonal tile opens a column
        order = np.where(on_diagonal, -1, columns) * self.count + rows
        at = int(order.argmin())
        i, j = int(rows[at]), int(columns[at])
        return Step(i, j, int(self._taken[i, j]), j, True)

    def _ahead(self) -> Step | None:
        """The step with the most products for a tile of the first column that has any."""
        first = int(self.ready[self.ready <= self._rows].min())
        for j in range(first, self.count, _COLUMNS):
            below, beside = slice(j, None), slice(j, j + _COLUMNS)
            there = np.minimum(self.ready[below, None], self.ready[None, beside])
            there -= self._taken[below, beside]
            there[self._busy[below, beside]] = 0
            most = there.max(axis=0)
            columns = np.flatnonzero(most)
            if len(columns):
                column = int(columns[0])
                i, taken = j + int(there[:, column].argmax()), int(most[column])
                start = int(self._taken[i, j + column])
                return Step(i, j + column, start, start + min(_BATCH, taken), False)
        return None
