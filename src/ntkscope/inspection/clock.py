"""Seconds a phase, and word of them to whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, float], None]


class Clock:
    """``step`` begins a phase and tells its name and the fraction done; ``done`` ends the last."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._phase, self._start = "", time.perf_counter()

    def step(self, phase: str, fraction: float) -> None:
        now = time.perf_counter()
        if self._phase:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._start
        self._phase, self._start = phase, now
        if self._progress is not None:
            self._progress(phase, fraction)

    def within(self, phase: str, start: float, end: float) -> Callable[[float], None]:
        """A listener for the fractions of one phase, between two of the whole."""
        return lambda fraction: self.step(phase, start + (end - start) * fraction)

    def done(self) -> dict[str, float]:
        self.step("", 1.0)
        return {**self._seconds, "total": sum(self._seconds.values())}
