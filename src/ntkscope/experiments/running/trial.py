"""One trial: what is measured, of which network, on which data, with which seed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import torch

from ntkscope._base import memory

Scalar = int | float | str
Result = dict[str, Scalar]

# part of every key: raise it when the same settings come to mean other numbers
FORMAT = 1


def canonical(value: Any) -> str:
    """JSON that is the same text for the same settings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Trial:
    """A measurement and a seed. ``settings`` is canonical JSON; the key follows from both.

    ``coordinates`` say where in a sweep's grid the trial stands; they name columns of its table
    and are no part of the key.
    """

    settings: str
    seed: int
    coordinates: tuple[tuple[str, Scalar], ...] = field(default=(), compare=False)

    @cached_property
    def key(self) -> str:
        """Names the trial in the store, whatever the sweep that it came from."""
        text = f"{FORMAT}\n{self.settings}\n{self.seed}"
        return "trial-" + hashlib.sha256(text.encode()).hexdigest()[:40]

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The settings as plain values."""
        return dict(json.loads(self.settings))


@dataclass(frozen=True)
class Unit:
    """Trials of one point that are computed together: a block of seeds, or a single one.

    Which seeds share a block, and the number of threads, follow from the settings alone: products
    of another batch size or thread count may round differently, and a trial's numbers are to be
    the same bits in every run.
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    threads: int
    nbytes: float

    @property
    def settings(self) -> dict[str, Any]:
        return self.trials[0].plain


@dataclass(frozen=True)
class Row:
    """What is known of a trial that ended: its results, or the error that it met."""

    key: str
    seed: int
    coordinates: dict[str, Scalar]
    results: Result = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    worker: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error)


def streams(settings: Mapping[str, Any], seed: int, *names: str) -> tuple[int, ...]:
    """Seeds of a trial's random streams (data, weights, …), 32 bits each.

    They depend on the network and the data and not on what is measured: another quantity asked
    of the same settings and seed speaks of the same instance.
    """
    about = {key: settings[key] for key in ("network", "data", "arguments") if key in settings}
    text = canonical(about)
    return tuple(
        int.from_bytes(hashlib.sha256(f"{text}\n{seed}\n{name}".encode()).digest()[:4], "big")
        for name in names
    )


def units(trials: Iterable[Trial]) -> Iterator[Unit]:
    """The trials as units of work, in the order given; neighbours of one block are joined."""
    from ntkscope.experiments.measures.registry import measure_of

    def block(trial: Trial) -> tuple[str, int]:
        return trial.settings, trial.seed // measure_of(trial.plain).block(trial.plain)

    for (_, index), members in groupby(trials, key=block):
        together = tuple(members)
        plain = together[0].plain
        measure = measure_of(plain)
        size = measure.block(plain)
        # a block is computed whole even when a part of it is asked for: the same bits either way
        seeds = tuple(range(index * size, (index + 1) * size))
        yield Unit(together, seeds, measure.threads(plain), measure.nbytes(plain))


def execute(work: tuple[Unit, ...]) -> list[Row]:
    """Run units one after another in this process; an error is a row, never an exception."""
    return [row for unit in work for row in _execute_unit(unit)]


def _execute_unit(unit: Unit) -> list[Row]:
    from ntkscope.experiments.measures.registry import measure_of

    start = time.perf_counter()
    results: dict[int, Result] = {}
    error = ""
    try:
        memory.require(unit.nbytes, "this trial", "use a larger machine, or fewer samples")
        with _GATE.threads(unit.threads):
            measured = measure_of(unit.settings).run(unit.settings, unit.seeds)
        results = dict(zip(unit.seeds, measured, strict=True))
    except Exception as failure:  # recorded with the trial: one bad point must not end a sweep
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
    seconds = (time.perf_counter() - start) / len(unit.trials)
    return [row_of(trial, results.get(trial.seed, {}), error, seconds) for trial in unit.trials]


def row_of(trial: Trial, results: Result, error: str = "", seconds: float = 0.0) -> Row:
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return Row(trial.key, trial.seed, dict(trial.coordinates), results, error, seconds, worker)


class _Gate:
    """Units of one thread count run side by side in a process, those of another wait.

    The thread count of BLAS belongs to the process, and a Dask worker may have several threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._count = 0, 0

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
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
