"""A sweep: from settings to a table, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkscope._base import memory
from ntkscope.experiments.design.settings import Settings, expand, read_settings
from ntkscope.experiments.reading.table import Table, make_table
from ntkscope.experiments.running.engine import Engine, orderly_end, run_units
from ntkscope.experiments.running.store import Store
from ntkscope.experiments.running.trial import Row, Trial, Unit, row_of, units


@dataclass(frozen=True)
class Progress:
    """How far a sweep is. ``rate`` is trials a second in this run, ``left`` the seconds to go."""

    total: int
    done: int
    failed: int
    before: int
    seconds: float

    @property
    def ended(self) -> int:
        return self.done + self.failed

    @property
    def rate(self) -> float:
        fresh = self.ended - self.before
        return fresh / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        return (self.total - self.ended) / self.rate if self.rate else None

    @property
    def finished(self) -> bool:
        return self.ended == self.total


class Sweep:
    """Trials of one settings file.

    >>> from ntkscope.experiments.running.sweep import Sweep
    >>> sweep = Sweep({"name": "tiny", "seeds": 2, "grid": {"d": [4, 8]},
    ...                "data": "gaussian:N=10,d={d}", "network": {"widths": ["d", 16, 1]}})
    >>> len(sweep.trials)
    4
    """

    def __init__(self, settings: Settings | dict[str, Any] | Path | str) -> None:
        if isinstance(settings, str):
            settings = Path(settings)
        self.settings = settings if isinstance(settings, Settings) else read_settings(settings)
        self.trials: tuple[Trial, ...] = tuple(expand(self.settings))

    @classmethod
    def of(cls, folder: Path | str) -> Sweep:
        """The sweep that a folder holds. Raises FileNotFoundError, StoreError as Store.read."""
        with Store.read(Path(folder)) as store:
            return cls(_settings_of(store))

    def run(
        self,
        folder: Path | str,
        engine: Engine | None = None,
        *,
        retry_failed: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Run what is not in the folder yet; every row is saved as it comes.

        Interrupted at any moment, the same call goes on where it stopped. ``engine`` defaults to
        one process a core. Raises StoreBusyError when another process runs it, StoreError when
        the folder holds another sweep.
        """
        with Store.open(Path(folder)) as store:
            self._describe(store)
            watch = _Watch(self.trials, store, retry_failed, progress)
            waiting = interleave([t for t in self.trials if t.key not in watch.ended])
            engine = engine or Engine()
            work = list(units(waiting))
            watch.report()
            try:
                with orderly_end():
                    if engine.local:
                        work = self._refuse_too_large(work, watch)
                    run_units(work, engine, watch.save)
            finally:
                watch.add_seconds()
            return watch.now()

    def table(self, folder: Path | str, timings: bool = False) -> Table:
        """What the folder holds of this sweep, in the grid's order."""
        with Store.read(Path(folder)) as store:
            return make_table(store.rows(), self.trials, timings)

    def progress(self, folder: Path | str) -> Progress:
        """How far the folder's sweep is, also while it runs elsewhere."""
        with Store.read(Path(folder)) as store:
            statuses = store.statuses()
        failed = sum(statuses.get(t.key, False) for t in self.trials)
        ended = sum(t.key in statuses for t in self.trials)
        return Progress(len(self.trials), ended - failed, failed, ended, 0.0)

    def seconds(self, folder: Path | str) -> float:
        """Wall time of the runs that made the folder's rows, those that were killed left out."""
        with Store.read(Path(folder)) as store:
            return float(store.about().get("seconds", 0.0))

    def _describe(self, store: Store) -> None:
        about = store.about()
        if about and about.get("name") != self.settings.name:
            raise ValueError(
                f"{str(store.path.parent)!r} holds the sweep {about.get('name')!r}, this one is "
                f"{self.settings.name!r}; give another --out"
            )
        import torch

        from ntkscope._base.version import __version__

        versions = {
            "ntkscope": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        made = about.get("versions", [])
        if versions not in made:
            made = [*made, versions]
        store.describe(
            name=self.settings.name, settings=self.settings.model_dump(mode="json"), versions=made
        )

    def _refuse_too_large(self, work: Sequence[Unit], watch: _Watch) -> list[Unit]:
        free = memory.available()
        kept, refused = [], []
        for unit in work:
            if unit.nbytes <= free:
                kept.append(unit)
                continue
            reason = (
                f"NotEnoughMemoryError: this trial needs {memory.human(unit.nbytes)}, and "
                f"{memory.human(free)} are free; use a larger machine, or fewer samples"
            )
            refused += [row_of(trial, {}, reason) for trial in unit.trials]
        if refused:
            watch.save(refused)
        return kept


class _Watch:
    """Saves rows and counts them."""

    def __init__(
        self,
        trials: Sequence[Trial],
        store: Store,
        retry_failed: bool,
        report: Callable[[Progress], None] | None,
    ) -> None:
        statuses = store.statuses()
        self.ended = {
            t.key for t in trials if t.key in statuses and not (retry_failed and statuses[t.key])
        }
        self._failed = {key for key in self.ended if statuses[key]}
        self._store, self._report = store, report
        self._total, self._before = len(trials), len(self.ended)
        self._start = time.perf_counter()

    def save(self, rows: Sequence[Row]) -> None:
        self._store.insert(rows)
        self.ended |= {row.key for row in rows}
        self._failed |= {row.key for row in rows if row.failed}
        self.report()

    def now(self) -> Progress:
        failed = len(self._failed)
        seconds = time.perf_counter() - self._start
        return Progress(self._total, len(self.ended) - failed, failed, self._before, seconds)

    def add_seconds(self) -> None:
        """Add this run to the store's wall time, unless it had nothing to do."""
        now = self.now()
        if now.ended > now.before:
            with contextlib.suppress(OSError):  # a full disk is already on its way to the caller
                seconds = float(self._store.about().get("seconds", 0.0)) + now.seconds
                self._store.describe(seconds=seconds)

    def report(self) -> None:
        if self._report is not None:
            self._report(self.now())


def interleave(trials: Sequence[Trial]) -> list[Trial]:
    """Trials in an order whose every beginning spans the grid.

    Blocks of seeds one after another, and within a block the points in bit-reversed order, so
    that a sweep that is half done shows the whole curve with half of its trials. Seeds that are
    computed together stay together.
    """
    from ntkscope.experiments.measures.registry import measure_of

    by_point: dict[str, list[Trial]] = {}
    for trial in trials:
        by_point.setdefault(trial.settings, []).append(trial)
    order = {settings: _reversed_bits(i) for i, settings in enumerate(by_point)}
    sizes = {s: measure_of(json.loads(s)).block(json.loads(s)) for s in by_point}
    return sorted(trials, key=lambda t: (t.seed // sizes[t.settings], order[t.settings], t.seed))


def _reversed_bits(index: int) -> float:
    """Van der Corput's sequence: 0, 1/2, 1/4, 3/4, …"""
    value, weight = 0.0, 0.5
    while index:
        value += weight * (index & 1)
        index, weight = index >> 1, weight / 2
    return value


def _settings_of(store: Store) -> Settings:
    about = store.about()
    if "settings" not in about:
        raise ValueError(f"{str(store.path)!r} holds no sweep yet")
    return read_settings(about["settings"])
