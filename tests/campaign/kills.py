"""SIGKILL at a random moment, then the same command again: the result of a run left alone.

A job is a command that resumes, and what to read of its result.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign import runs
from campaign.commands import DATA

SWEEP = """\
name = "killed"
measure = ["lambda_min"]
seeds = 4
data = "gaussian:N={N},d={d}"
grid = { d = [10, 20], N = [40, 80, 120] }
network = { widths = ["d", 60, 1], activation = "relu", init = "he" }
plot = { x = "N" }
"""
_TIMES = (
    "seconds",
    "wall_seconds",
    "peak",
    "resumed",
    "started",
    "elapsed",
)  # what two runs may differ in


@dataclass(frozen=True)
class Job:
    """first, again: the command and how it goes on. result: what must be the same afterwards."""

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...]
    result: Callable[[Path], object]


def _table(folder: Path) -> object:
    made = runs.run(["sweep", "export", "swept", "--to", "table.csv"], folder)
    return (folder / "table.csv").read_text() if made.code == 0 else made.said


def _trained(folder: Path) -> object:
    return without_times(json.loads((folder / "trained" / "result.json").read_text()))


def _stored(folder: Path) -> object:
    store = folder / "made.zarr"
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*/*/*"))}


def _reproduced(folder: Path) -> object:
    record = without_times(json.loads((folder / "figure" / "result.json").read_text()))
    tables = sorted((folder / "figure").glob("*.csv"))
    return record, [table.read_text() for table in tables]


_TRAIN = (
    "train", "--data", DATA, "--widths", "4,50,1", "--targets", "random", "--steps", "3000",
    "--checkpoint-every", "20", "--out", "trained",
)  # fmt: skip
_KERNEL = ("kernel", "--data", "gaussian:N=900,d=20", "--widths", "20,300,1", "--tile", "64")
_FIGURE = (
    "reproduce", "nguyen2021-figure-2-left", "--only", "N <= 50 and d <= 300",
    "--out", "figure", "--workers", "0", "--quiet",
)  # fmt: skip
JOBS = [
    Job("sweep", ("sweep", "run", "killed.toml", "--out", "swept", "--quiet", "--workers", "0"),
        ("sweep", "run", "killed.toml", "--out", "swept", "--quiet", "--workers", "0"), _table),
    Job("train", _TRAIN, (*_TRAIN, "--resume"), _trained),
    Job("kernel", (*_KERNEL, "--out", "made.zarr"), (*_KERNEL, "--out", "made.zarr"), _stored),
    Job("reproduce", _FIGURE, _FIGURE, _reproduced),
]  # fmt: skip


def without_times(value: object) -> object:
    """The same without what a clock says."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not k.startswith(_TIMES)}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def prepare(folder: Path) -> None:
    """The settings that the sweep reads."""
    (folder / "killed.toml").write_text(SWEEP)


class Killing:
    """A job with what it gives when it is left alone, and how long that takes."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        home = folder / f"alone-{job.name}"
        home.mkdir()
        prepare(home)
        begin = time.monotonic()
        alone = runs.run(job.first, home)
        if alone.code != 0:
            raise RuntimeError(f"{job.name} does not run: {alone.said}")
        self.seconds = time.monotonic() - begin
        self.expected = job.result(home)

    def once(self, draw: random.Random, name: str) -> list[str]:
        """Kill one run at up to three random moments, go on, and say what was lost."""
        home = self.folder / name
        home.mkdir()
        prepare(home)
        try:
            arguments = self.job.first
            for _ in range(draw.randint(1, 3)):
                if not _killed(arguments, home, draw.uniform(0.0, self.seconds)):
                    break
                arguments = self.job.again if any(home.glob("*/*")) else self.job.first
            ended = runs.run(self.job.again, home)
            if ended.code == 2 and "checkpoint" in ended.said:  # killed before there was one
                shutil.rmtree(home)
                home.mkdir()
                prepare(home)
                ended = runs.run(self.job.first, home)
            found = ended.faults()
            if ended.code != 0:
                return [*found, f"does not go on ({ended.code}): {ended.said[-300:]}"]
            if self.job.result(home) != self.expected:
                found.append("another result")
            return found
        finally:
            shutil.rmtree(home)


def _killed(arguments: tuple[str, ...], folder: Path, after: float) -> bool:
    """Whether it was killed, and not at its end before."""
    child = os.fork()
    if child == 0:
        runs.become(arguments, folder, os.open(os.devnull, os.O_WRONLY))
    time.sleep(after)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if ended:
        return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True
