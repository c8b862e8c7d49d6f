"""A figure from one call: its sweep, its files, its verdict."""

from __future__ import annotations

import datetime
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ntkscope._base.extras import needs
from ntkscope._base.version import __version__
from ntkscope.engines.engine import Engine
from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.figures.gallery import figure as find_figure
from ntkscope.experiments.reading import drawing
from ntkscope.experiments.reading.table import Table
from ntkscope.experiments.running.watch import SweepProgress
from ntkscope.experiments.summary import settings_of
from ntkscope.experiments.sweep import Sweep
from ntkscope.report.canvas import inline_svg, new_row, shorten_ticks
from ntkscope.report.card import Card
from ntkscope.report.figure_page import page
from ntkscope.report.files import results, write_all
from ntkscope.report.result import Shown
from ntkscope.report.style import Style

with needs("sweep"):
    import psutil


@dataclass(frozen=True)
class Reproduction(Shown):
    """What ``reproduce`` made. seconds: wall time of all runs that filled the store together."""

    figure: Figure
    scale: Scale
    folder: Path
    progress: SweepProgress
    analysis: Analysis
    seconds: float
    paths: tuple[Path, ...]
    table: Table

    def to_dict(self) -> dict[str, Any]:
        """What came out, in plain values, and where the files are."""
        return {
            "figure": self.figure.id, "title": self.figure.title, "claim": self.figure.claim,
            "summary": self.analysis.summary, "scale": self.scale,
            "analysis": self.analysis.to_dict(), "trials": self.progress.to_dict(),
            "seconds": self.seconds, "folder": str(self.folder),
            "files": [path.name for path in self.paths],
        }  # fmt: skip

    def _card(self) -> Card:
        pairs = [
            ("claim", self.figure.claim), ("found", self.analysis.summary),
            *self.analysis.facts,
            ("trials", f"{self.progress.done} done, {self.progress.failed} failed; {self.seconds:.0f} s"),
            ("page", str(self.folder / "report.html")),
        ]  # fmt: skip
        verdicts = [str(v) for v in self.analysis.verdicts]
        return Card(f"{self.figure.title} ({self.figure.id})", pairs, notes=verdicts)

    def __repr__(self) -> str:
        return f"Reproduction({self.figure.id!r}, {self.scale!r}, {str(self.folder)!r})"

    def plot(self, ax: Any = None) -> Any:
        """The figure on a matplotlib axes; one of several panels makes its own. Returns the (first) axes.

        Raises ValueError for an axes given to a figure of several panels.
        """
        count = self.figure.panels
        if ax is not None and count > 1:
            raise ValueError(f"{self.figure.id} has {count} panels; leave ax out")
        axes = [ax] if ax is not None else new_row(count)
        self.figure.draw(self.table, axes)
        return axes[0]


def reproduce(
    id: str,
    scale: str = "quick",
    folder: Path | str | None = None,
    engine: Engine | None = None,
    *,
    only: str | None = None,
    retry_failed: bool = False,
    run: bool = True,
    progress: Callable[[SweepProgress], None] | None = None,
    style: str = "screen",
) -> Reproduction:
    """Run a figure's sweep (or what is left of it) and write PNG, PDF, CSV, JSON and HTML.

    ``only`` keeps the points of the grid where an expression holds, such as ``"N <= 2000"``: a part
    of a figure too large for the machine; the same folder takes the rest later. ``run=False`` draws what
    the folder holds, finished or not. ``style`` is "screen", "paper" or "paper:double", columns of a paper.
    The folder defaults to ``out/reproduce/ID-SCALE``. Raises ValueError for an unknown id or
    scale, and where every trial failed.

    Parameters
    ----------
    id: of the figure, such as ``"nguyen2021-figure-2-left"``.
    scale: ``"quick"`` or ``"full"``.
    folder: for runs and results.
    engine: where the trials run.
    only: an expression that keeps a part of the grid.
    retry_failed: run failed trials again.
    run: False draws what the folder holds.
    progress: called with a report of the sweep now and then.
    style: ``"screen"``, ``"paper"`` or ``"paper:double"``, columns of a paper.

    Returns
    -------
    Reproduction: the table, the fits, the verdict and the files.
    """
    found = find_figure(id)
    if scale not in ("quick", "full"):
        raise ValueError(f"scale is 'quick' or 'full', got {scale!r}")
    target = Path(folder) if folder is not None else Path("out/reproduce") / f"{id}-{scale}"
    size, look = cast("Scale", scale), Style(style)
    settings = dict(found.settings(size))
    if only is not None:
        own = settings.get("where")
        settings["where"] = f"({own}) and ({only})" if own else only
    sweep = Sweep(settings)
    if run:
        ended = sweep.run(target, engine, retry_failed=retry_failed, progress=progress)
    else:
        ended = sweep.progress(target)
    return render(found, size, target, sweep, ended, only, look)


def render(
    found: Figure,
    scale: Scale,
    target: Path,
    sweep: Sweep,
    ended: SweepProgress,
    only: str | None = None,
    style: Style | None = None,
) -> Reproduction:
    """Draw and write what the folder's store holds; ``only`` is the part of the grid that was asked for."""
    seconds = sweep.seconds(target)
    table = sweep.table(target)
    if "error" in table.columns:
        good = table.only(lambda r: "error" not in r)
        if not len(good):
            raise ValueError(f"every trial failed, the first with: {table.records[0]['error']}")
        table = good
    try:
        analysis = found.analyse(table)
    except ValueError as error:  # a part of the grid may hold too few points
        analysis = Analysis(f"No fit: {error}.")
    pictures, inline, plotted = _pictures(found, table, style or Style())
    record = _record(found, sweep, ended, seconds, analysis, plotted) | {
        "scale": scale,
        "command": f"ntkscope reproduce {found.id} --{scale}"
        + (f' --only "{only}"' if only else ""),
    }
    contents: dict[str, str | bytes] = {
        **pictures,
        f"{found.id}.csv": table.to_csv(),
        **results(
            page(record, inline), record,
            settings_of(sweep.settings), str(record["command"]),
        ),
    }  # fmt: skip
    write_all(target, contents)
    paths = tuple(target / name for name in contents)
    return Reproduction(found, scale, target, ended, analysis, seconds, paths, table)


def _pictures(
    found: Figure, table: Table, style: Style
) -> tuple[dict[str, str | bytes], str, list[dict[str, Any]]]:
    """The files, the page's picture, and the numbers that they show."""
    with style.drawing():
        canvas, axes = drawing.make_axes(found.panels, style=style)
        found.draw(table, axes)
        for ax in axes:
            shorten_ticks(ax)
        plotted = drawing.plotted(axes)  # with the labels as they are said, not as they are set
        style.typeset(canvas)
        with tempfile.TemporaryDirectory() as scratch:
            saved = drawing.save(canvas, Path(scratch), found.id)
            files: dict[str, str | bytes] = {p.name: p.read_bytes() for p in saved}
        return files, inline_svg(canvas), plotted


def _record(
    found: Figure,
    sweep: Sweep,
    ended: SweepProgress,
    seconds: float,
    analysis: Analysis,
    plotted: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "figure": found.id,
        "title": found.title,
        "source": found.source,
        "claim": found.claim,
        "setup": found.setup,
        "choices": list(found.choices),
        "analysis": analysis.to_dict(),
        "plotted": plotted,
        "trials": {"done": ended.done, "failed": ended.failed, "total": ended.total},
        "wall_seconds": round(seconds, 1),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "settings": sweep.settings.model_dump(mode="json"),
    }


def machine() -> str:
    """The machine in a line."""
    memory = psutil.virtual_memory().total / 1e9
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GB, {platform.machine()}, "
        f"torch {torch.__version__}, ntkscope {__version__}"
    )
