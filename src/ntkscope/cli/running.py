"""What commands that run trials share: where these run, and what is said of how far they are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from ntkscope.cli import completion
from ntkscope.cli.options import option
from ntkscope.cli.progress import ProgressBar, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ntkscope.engines.engine import Engine
    from ntkscope.experiments.running.watch import SweepProgress

PLACE = "Where it runs"  # a panel of the help

Workers = Annotated[
    int | None,
    option("Local processes; one a core by default, 0: in this process.", panel=PLACE, metavar="N"),
]
Cluster = Annotated[
    str | None,
    option(
        "A Dask scheduler's address (tcp://host:8786, tls://…), a scheduler file (.json), or "
        "slurm:jobs=4,cores=8,memory=16GB,queue=main,walltime=01:00:00",
        panel=PLACE,
        metavar="ADDRESS",
    ),
]
TlsFiles = Annotated[
    str | None,
    option("PEM files for a tls:// address.", panel=PLACE, metavar="CA,CERTIFICATE,KEY"),
]
Device = Annotated[
    str,
    option(
        "Where each worker computes: cpu, cuda (local workers take the GPUs in turn), cuda:1.",
        "--device",
        panel=PLACE,
        metavar="DEVICE",
        autocompletion=completion.of("cpu", "cuda"),
    ),
]
RetryFailed = Annotated[bool, option("Run the failed trials again.")]


def make_engine(
    workers: int | None, cluster: str | None, tls_files: str | None, device: str = "cpu"
) -> Engine:
    """The engine that the options describe. Raises ValueError for options that exclude each other."""
    from ntkscope.engines.engine import Engine, Tls

    if cluster is not None and workers is not None:
        raise ValueError("--workers counts local processes; leave it out with --cluster")
    if tls_files is None:
        return Engine(workers, cluster, device=device)
    parts = [part.strip() for part in tls_files.split(",")]
    if len(parts) != 3 or cluster is None:
        raise ValueError("--tls-files takes CA,CERTIFICATE,KEY and goes with --cluster tls://…")
    return Engine(workers, cluster, Tls(*parts), device)


@contextmanager
def live(silent: bool) -> Iterator[Callable[[SweepProgress], None]]:
    """A progress callback that draws one line, unless ``silent``."""
    with quiet(silent), ProgressBar() as bar:
        yield lambda now: bar(describe(now), now.ended / now.total if now.total else 1.0)


def describe(progress: SweepProgress) -> str:
    """``240 of 600 done, 2 failed, 3.1 a second``."""
    parts = [f"{progress.done} of {progress.total} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.rate and not progress.finished:
        parts.append(f"{progress.rate:.3g} a second")
    return ", ".join(parts)
