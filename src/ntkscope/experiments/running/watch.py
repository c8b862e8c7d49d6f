"""How far a sweep is: its rows saved and counted as they come."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.running.rows import Row
from ntkscope.experiments.running.store import Store
from ntkscope.report.result import Result


@dataclass(frozen=True)
class SweepProgress(Result, also=("ended", "left", "finished")):
    """Trials that are done or failed, of all; ``before`` had ended when this run began.

    rate: trials a second in this run. left: seconds to go, ``None`` before the first row.
    """

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


class Watch:
    """Saves rows and counts them. ``ended`` holds the keys of the trials that need not run."""

    def __init__(
        self,
        trials: Sequence[Trial],
        store: Store,
        retry_failed: bool,
        report: Callable[[SweepProgress], None] | None,
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
        self.ended.update(row.key for row in rows)
        self._failed.update(row.key for row in rows if row.failed)
        self.report()

    def now(self) -> SweepProgress:
        failed = len(self._failed)
        seconds = time.perf_counter() - self._start
        return SweepProgress(self._total, len(self.ended) - failed, failed, self._before, seconds)

    def report(self) -> None:
        if self._report is not None:
            self._report(self.now())

    def add_seconds(self) -> None:
        """Add this run to the store's wall time, unless it had nothing to do."""
        now = self.now()
        if now.ended > now.before:
            with contextlib.suppress(OSError):  # a full disk is already on its way to the caller
                seconds = float(self._store.about().get("seconds", 0.0)) + now.seconds
                self._store.describe(seconds=seconds)
