"""Units of work: trials of one point that are computed together, and their execution."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ntkscope._base import memory
from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.measures.measure import Result
from ntkscope.experiments.measures.registry import load_plugin, measure_of
from ntkscope.experiments.running.rows import Row, in_a_line, row_of


@dataclass(frozen=True)
class Unit:
    """A block of seeds of one point, or a single one.

    Which seeds share a block, and the number of threads, follow from the settings alone: products
    of another batch size or thread count may round differently, and a trial's numbers are to be
    the same bits in every run. ``plugins`` define names that the settings may use,
    ``device`` is where it is computed.
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    threads: int
    nbytes: float
    plugins: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def settings(self) -> dict[str, Any]:
        return self.trials[0].plain


def units(
    trials: Iterable[Trial], plugins: tuple[str, ...] = (), device: str = "cpu"
) -> Iterator[Unit]:
    """The trials as units of work, in the order given; neighbours of one block are joined."""
    needs: dict[str, tuple[int, int, float]] = {}

    def block(trial: Trial) -> tuple[str, int]:
        if trial.settings not in needs:
            plain = trial.plain
            measure = measure_of(plain)
            needs[trial.settings] = (
                measure.block(plain), measure.threads(plain), measure.nbytes(plain)
            )  # fmt: skip
        return trial.settings, trial.seed // needs[trial.settings][0]

    for (settings, index), members in groupby(trials, key=block):
        size, threads, nbytes = needs[settings]
        # a block is computed whole even when a part of it is asked for: the same bits either way
        seeds = tuple(range(index * size, (index + 1) * size))
        yield Unit(tuple(members), seeds, threads, nbytes, plugins, device)


def execute(work: tuple[Unit, ...]) -> list[Row]:
    """Run units one after another in this process; an error is a row, never an exception."""
    return [row for unit in work for row in _execute_unit(unit)]


def _execute_unit(unit: Unit) -> list[Row]:
    start = time.perf_counter()
    results: dict[int, Result] = {}
    error = ""
    try:
        memory.require(unit.nbytes, "this trial", "use a larger machine, or fewer samples")
        for plugin in unit.plugins:  # a worker starts without them
            load_plugin(plugin)
        settings = unit.settings
        with _GATE.threads(unit.threads):
            measured = measure_of(settings).run(settings, unit.seeds, unit.device)
        results = dict(zip(unit.seeds, measured, strict=True))
    except Exception as failure:  # recorded with the trial: one bad point must not end a sweep
        error = in_a_line(failure)
    seconds = (time.perf_counter() - start) / len(unit.trials)
    return [row_of(trial, results.get(trial.seed, {}), error, seconds) for trial in unit.trials]


class _Gate:
    """Units of one thread count run side by side in a process, those of another wait.

    The thread count of BLAS belongs to the process, and a Dask worker may have several threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._count = 0, 0

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        import torch

        with self._changed:
            while self._inside and self._count != count:
                self._changed.wait()
            self._inside, self._count = self._inside + 1, count
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    torch.set_num_threads(before)
                    self._changed.notify_all()


_GATE = _Gate()
