"""Hands units of work to a Dask client and takes back rows, so that no death of a worker is felt."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.experiments.running.rows import Row, in_a_line, row_of
from ntkscope.experiments.running.units import Unit, execute

with needs("sweep"):
    from distributed import KilledWorker, as_completed

Sink = Callable[[Sequence[Row]], None]

_BUNDLE_SECONDS = 0.1  # short units travel together: a task costs about 1.6 ms
_BUNDLE_MOST = 500
_IN_FLIGHT = 4  # tasks a worker: enough to hide the way there and back
_LOST_MOST = 3
_DEATHS_MOST = 3  # in company, then twice alone: a worker may die of something else once
_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0  # without a single worker, on this machine


class WorkersGoneError(ConnectionError):
    """No worker is left, and none comes back: ``left`` is what has not been done."""

    def __init__(self, left: list[Unit]) -> None:
        super().__init__(
            "all worker processes are gone and none was started again; every row that had come "
            "back is saved: run the same command again, with fewer --workers if memory is short"
        )
        self.left = left


@dataclass
class _Task:
    units: tuple[Unit, ...]
    deaths: int = 0  # of workers that ran it
    lost: int = 0

    @property
    def threads(self) -> int:
        return max(unit.threads for unit in self.units)

    @property
    def nbytes(self) -> float:
        return max(unit.nbytes for unit in self.units)


@dataclass
class _Pace:
    """Seconds that a unit of each setting took; the longest of all stands for those not yet seen."""

    seconds: dict[str, float] = field(default_factory=dict)
    longest: float | None = None

    def of(self, unit: Unit) -> float | None:
        return self.seconds.get(unit.trials[0].settings, self.longest)

    def learn(self, unit: Unit, seconds: float) -> None:
        self.seconds[unit.trials[0].settings] = seconds
        self.longest = max(seconds, self.longest or 0.0)


class Dispatcher:
    """Runs units on ``client``.

    About ``_IN_FLIGHT`` tasks a worker are under way; units with several threads, and units whose
    memory adds up to more than ``budget``, wait for their turn. A task whose workers keep dying is
    taken apart, and each of its units is tried again with nothing else running: the one that kills
    is recorded, the others finish.
    """

    def __init__(
        self,
        client: Any,
        work: Sequence[Unit],
        sink: Sink,
        slots: int,
        budget: float,
    ) -> None:
        self._client, self._sink = client, sink
        self._waiting = deque(work)
        self._again: deque[_Task] = deque()
        self._suspects: deque[_Task] = deque()
        self._running: dict[str, _Task] = {}
        self._pace = _Pace()
        self._fixed_slots, self._budget = slots, budget
        self._count = 0

    def run(self) -> None:
        """Until every unit is done.

        Raises ConnectionError when the cluster is gone, WorkersGoneError when its processes are.
        """
        completed: Any = as_completed(loop=self._client.loop)
        try:
            self._fill(completed)
            while self._running:
                self._await(completed)
                self._finish(next(completed))
                self._fill(completed)
        finally:
            if self._running and self._client.status == "running":
                self._client.cancel(list(self._running), force=True)

    def _await(self, completed: Any) -> None:
        """Until a task has ended. A nanny that could not start its worker again says nothing."""
        pause, looked, alive = 0.0005, time.monotonic(), time.monotonic()
        while not completed.has_ready():
            time.sleep(pause)
            pause = min(1.5 * pause, 0.05)
            now = time.monotonic()
            if not self._fixed_slots or now - looked < _LOOK_SECONDS:
                continue
            looked = now
            if self._client.nthreads():
                alive = now
            elif now - alive > _PATIENCE_SECONDS:
                tasks = [*self._running.values(), *self._again, *self._suspects]
                raise WorkersGoneError([u for t in tasks for u in t.units] + list(self._waiting))

    def _slots(self) -> int:
        if self._fixed_slots:
            return self._fixed_slots
        return max(1, sum(self._client.nthreads().values()))

    def _fill(self, completed: Any) -> None:
        slots = self._slots()
        while (task := self._next(slots)) is not None:
            self._count += 1
            key = f"{task.units[0].trials[0].key}-{self._count}"
            self._running[key] = task
            completed.add(self._client.submit(execute, task.units, key=key, pure=False))

    def _next(self, slots: int) -> _Task | None:
        if self._again:
            return self._again.popleft()
        if self._waiting:
            return self._bundle(slots) if self._room(self._waiting[0], slots) else None
        if self._suspects and not self._running:
            return self._suspects.popleft()
        return None

    def _room(self, unit: Unit, slots: int) -> bool:
        tasks = self._running.values()
        if not tasks:
            return True
        if sum(task.nbytes for task in tasks) + unit.nbytes > self._budget:
            return False
        threads = [task.threads for task in tasks]
        if unit.threads > 1 or max(threads) > 1:
            return sum(threads) + unit.threads <= slots
        return len(threads) < _IN_FLIGHT * slots

    def _bundle(self, slots: int) -> _Task:
        units = [self._waiting.popleft()]
        seconds = self._pace.of(units[0])
        share = len(self._waiting) // (2 * slots)
        while (
            seconds is not None
            and seconds < _BUNDLE_SECONDS
            and len(units) < min(_BUNDLE_MOST, share)
            and self._waiting[0].threads == units[0].threads
        ):
            more = self._pace.of(self._waiting[0])
            if more is None or seconds + more > _BUNDLE_SECONDS:
                break
            units.append(self._waiting.popleft())
            seconds += more
        return _Task(tuple(units))

    def _finish(self, future: Any) -> None:
        task = self._running.pop(future.key)
        if future.status == "finished":
            rows = future.result()
            self._learn(task, rows)
            future.release()
            self._sink(rows)
            return
        if future.status in ("cancelled", "lost"):
            self._resubmit(task)
            return
        error = future.exception()
        future.release()
        deaths = task.deaths + 1
        if isinstance(error, KilledWorker) and deaths < _DEATHS_MOST:
            self._suspects.extend(_Task((unit,), deaths) for unit in task.units)
        elif isinstance(error, KilledWorker):
            self._record(task, "WorkerDied: every worker that ran this trial died (killed by the "
                         "system, for instance for its memory, or by the trial's own code)")  # fmt: skip
        else:
            self._record(task, in_a_line(error))

    def _resubmit(self, task: _Task) -> None:
        if self._client.status != "running" or task.lost >= _LOST_MOST:
            raise ConnectionError(
                "the cluster is gone; every row that had come back is saved: run the same "
                "command again when it is there"
            )
        self._again.append(replace(task, lost=task.lost + 1))

    def _record(self, task: _Task, error: str) -> None:
        self._sink([row_of(trial, {}, error) for unit in task.units for trial in unit.trials])

    def _learn(self, task: _Task, rows: Sequence[Row]) -> None:
        seconds = {row.key: row.seconds for row in rows}
        for unit in task.units:
            self._pace.learn(unit, sum(seconds[trial.key] for trial in unit.trials))
