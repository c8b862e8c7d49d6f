"""How far the work is, and the time left: one line on stderr for every command."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
_DELAY = 2.0  # seconds of work before a terminal shows a bar
_EVERY = 30.0  # seconds between two lines where there is no terminal


@contextlib.contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """What is begun inside shows no progress if ``wanted``."""
    before = _QUIET.set(wanted)
    try:
        yield
    finally:
        _QUIET.reset(before)


def clock(seconds: float) -> str:
    """``1:56``, or ``1:02:03`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Pace:
    """Seconds to go, from the pace since the fraction last fell."""

    def __init__(self) -> None:
        self._first = self._last = (0.0, 0.0)

    def left(self, fraction: float, now: float) -> float | None:
        """``None`` while nothing has been done."""
        if fraction < self._last[0] or self._first[1] == 0.0:
            self._first = (fraction, now)
        self._last = (fraction, now)
        done = fraction - self._first[0]
        return (now - self._first[1]) * (1.0 - fraction) / done if done > 0.0 else None


class ProgressBar:
    """A bar on a terminal for work of more than two seconds; elsewhere a line every half minute.

    Called with a phase and the fraction of the whole that is done; shows nothing with ``--quiet``.
    """

    def __init__(
        self, console: Console | None = None, delay: float = _DELAY, every: float = _EVERY
    ) -> None:
        self._console = console or Console(stderr=True, markup=False, highlight=False)
        self._quiet = _QUIET.get()
        self._pace, self._every, self._next = Pace(), every, time.monotonic() + every
        self._bar = Progress(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=1.0, left="")
        self._timer = threading.Timer(delay, self._bar.start)
        self._timer.daemon = True

    def __enter__(self) -> ProgressBar:
        if self._console.is_terminal and not self._quiet:
            self._timer.start()
        return self

    def __call__(self, phase: str, fraction: float) -> None:
        now = time.monotonic()
        seconds = self._pace.left(fraction, now)
        left = "" if seconds is None or fraction >= 1.0 else f"{clock(seconds)} left"
        self._bar.update(self._task, description=phase, completed=fraction, left=left)
        if not self._console.is_terminal and not self._quiet and now >= self._next:
            self._next = now + self._every
            self._console.print(", ".join(filter(None, (phase, f"{fraction:.0%} done", left))))

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._bar.live.is_started:
            self._bar.stop()
