"""What is known of a trial that ended."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from ntkscope.experiments.design.trial import Scalar, Trial


@dataclass(frozen=True)
class Row:
    """Its results, or the error that it met; how long it took, and where."""

    key: str
    seed: int
    coordinates: dict[str, Scalar]
    results: dict[str, Scalar] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    worker: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.error)


def row_of(trial: Trial, results: dict[str, Scalar], error: str = "", seconds: float = 0.0) -> Row:
    """The row of a trial that this process ran."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    return Row(trial.key, trial.seed, dict(trial.coordinates), results, error, seconds, worker)


def in_a_line(error: BaseException) -> str:
    """``ValueError: what it says``, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
