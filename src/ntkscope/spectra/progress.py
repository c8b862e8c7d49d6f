"""Reports of a long computation while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ntkscope.report.result import Result


@dataclass(frozen=True)
class Progress(Result):
    """One report: the stage, how much of it is done, the residual where there is one.


    Attributes
    ----------
    stage: the name of the current stage.
    done: the fraction of the stage, 0 to 1.
    residual: of an iteration; otherwise None.
    elapsed, remaining: seconds of this stage; ``remaining`` is None until it can be estimated.
    """

    stage: str
    done: float
    residual: float | None
    elapsed: float
    remaining: float | None

    def __str__(self) -> str:
        text = f"{self.stage}: {100 * self.done:.0f}%"
        if self.residual is not None:
            text += f", residual {self.residual:.1e}"
        if self.remaining is not None:
            text += f", {self.remaining:.0f} s left"
        return text


Callback = Callable[[Progress], None]


class Stage:
    """Reports of one stage to a callback, if there is one."""

    def __init__(self, name: str, callback: Callback | None) -> None:
        self._name, self._callback = name, callback
        self._start = time.perf_counter()

    def __call__(self, done: float, residual: float | None = None) -> None:
        if self._callback is None:
            return
        elapsed = time.perf_counter() - self._start
        done = min(max(done, 0.0), 1.0)
        remaining = elapsed * (1 - done) / done if done > 0.01 else None
        self._callback(Progress(self._name, done, residual, elapsed, remaining))
