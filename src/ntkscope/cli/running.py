"""What `sweep` and `reproduce` share: where trials run, and the line that shows how far they are."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ntkscope.engines.engine import Engine
    from ntkscope.experiments.running.watch import SweepProgress

Workers = Annotated[
    int | None,
    typer.Option(help="Local processes; one a core by default, 0: in this process."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="A Dask scheduler's address (tcp://host:8786, tls://…), a scheduler file (.json), or "
        "slurm:jobs=4,cores=8,memory=16GB,queue=main,walltime=01:00:00"
    ),
]
TlsFiles = Annotated[
    str | None, typer.Option(help="CA,CERTIFICATE,KEY: PEM files for a tls:// address.")
]
RetryFailed = Annotated[bool, typer.Option(help="Run the failed trials again.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress line.")]


def make_engine(workers: int | None, cluster: str | None, tls_files: str | None) -> Engine:
    """The engine that the options describe. Raises ValueError for options that exclude each other."""
    from ntkscope.engines.engine import Engine, Tls

    if cluster is not None and workers is not None:
        raise ValueError("--workers counts local processes; leave it out with --cluster")
    if tls_files is None:
        return Engine(workers, cluster)
    parts = [part.strip() for part in tls_files.split(",")]
    if len(parts) != 3 or cluster is None:
        raise ValueError("--tls-files takes CA,CERTIFICATE,KEY and goes with --cluster tls://…")
    return Engine(workers, cluster, Tls(*parts))


@contextmanager
def live(quiet: bool) -> Iterator[Callable[[SweepProgress], None] | None]:
    """A progress callback that draws a line on a terminal, or a line now and then elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        with console.status("starting") as status:
            yield lambda progress: status.update(describe(progress))
    else:
        yield _Lines(console)


class _Lines:
    """A line at the start, then one every 10 seconds: for logs."""

    def __init__(self, console: Any) -> None:
        self._console, self._next = console, 0.0

    def __call__(self, progress: SweepProgress) -> None:
        now = time.monotonic()
        if now >= self._next or progress.finished:
            self._next = now + 10.0
            self._console.print(describe(progress), highlight=False)


def describe(progress: SweepProgress) -> str:
    """``240 of 600 done, 2 failed, 3.1 a second, 1:56 left``."""
    parts = [f"{progress.done} of {progress.total} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.rate and not progress.finished:
        parts.append(f"{progress.rate:.3g} a second")
        parts.append(f"{_clock(progress.left or 0.0)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
