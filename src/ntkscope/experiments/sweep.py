"""A sweep: from settings to a table, whatever happens in between."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ntkscope._base import memory
from ntkscope.engines.engine import Engine
from ntkscope.experiments.design.expansion import expand
from ntkscope.experiments.design.settings import SweepSettings, read_settings
from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.measures import registry
from ntkscope.experiments.reading.table import Table, make_table
from ntkscope.experiments.running.execution import orderly_end, run_units
from ntkscope.experiments.running.order import interleave
from ntkscope.experiments.running.rows import row_of
from ntkscope.experiments.running.store import Store
from ntkscope.experiments.running.units import Unit, units
from ntkscope.experiments.running.watch import SweepProgress, Watch
from ntkscope.report.result import Shown


class Sweep(Shown):
    """Trials of one settings file.

    Parameters
    ----------
    settings
        A TOML file, or the same as a dict. Every point is checked before anything runs.

    Raises
    ------
    ValueError, TypeError
        For settings that are wrong, or a point that cannot run, naming it.
    FileNotFoundError
        For a missing file.

    Examples
    --------
    >>> from ntkscope import Sweep
    >>> sweep = Sweep({"name": "tiny", "seeds": 2, "grid": {"d": [4, 8]},
    ...                "data": "gaussian:N=10,d={d}", "network": {"widths": ["d", 16, 1]}})
    >>> len(sweep.trials)
    4
    """

    def __init__(self, settings: SweepSettings | dict[str, Any] | Path | str) -> None:
        self._take(settings)
        self._check()

    def _take(self, settings: SweepSettings | dict[str, Any] | Path | str) -> None:
        if isinstance(settings, str):
            settings = Path(settings)
        self.settings = settings if isinstance(settings, SweepSettings) else read_settings(settings)
        self.trials: tuple[Trial, ...] = tuple(expand(self.settings))
        self._checked = False

    def _check(self) -> None:
        if not self._checked:
            for plugin in self.settings.plugin:
                registry.load_plugin(plugin)
            registry.check(self.trials)
            self._checked = True

    @classmethod
    def of(cls, folder: Path | str) -> Sweep:
        """The sweep that a folder holds; its points were checked when it was run.

        Raises FileNotFoundError, StoreError as Store.read.
        """
        with Store.read(Path(folder)) as store:
            about = store.about()
        if "settings" not in about:
            raise ValueError(f"{str(folder)!r} holds no sweep yet")
        sweep = cls.__new__(cls)
        sweep._take(read_settings(about["settings"]))
        return sweep

    def run(
        self,
        folder: Path | str,
        engine: Engine | None = None,
        *,
        retry_failed: bool = False,
        progress: Callable[[SweepProgress], None] | None = None,
    ) -> SweepProgress:
        """Run what is not in the folder yet; every row is saved as it comes.

        After an interrupt at any moment, the same call resumes. ``engine`` defaults to
        one process a core. Raises StoreBusyError when another process runs it, StoreError when
        the folder holds another sweep.
        """
        self._check()
        engine = engine or Engine()
        registry.check_device(self.trials, engine.device)
        with Store.open(Path(folder)) as store:
            self._describe(store, engine.device)
            watch = Watch(self.trials, store, retry_failed, progress)
            waiting = interleave([t for t in self.trials if t.key not in watch.ended])
            work = list(units(waiting, tuple(self.settings.plugin), engine.device))
            watch.report()
            try:
                with orderly_end():
                    if engine.local:
                        work = _without_too_large(work, watch)
                    run_units(work, engine, watch.save)
            finally:
                watch.add_seconds()
            return watch.now()

    def table(self, folder: Path | str, timings: bool = False) -> Table:
        """What the folder holds of this sweep, in the grid's order."""
        with Store.read(Path(folder)) as store:
            return make_table(store.rows(), self.trials, timings)

    def plot(self, folder: Path | str, ax: Any = None) -> Any:
        """What the settings' [plot] asks for, drawn from a folder's rows; without it as :meth:`Table.plot`.

        Returns the matplotlib axes. Raises what :meth:`table` and :meth:`Table.plot` raise.
        """
        wanted, table = self.settings.plot, self.table(folder)
        if wanted is None:
            return table.plot(ax)
        return table.plot(ax, x=wanted.x, y=wanted.ys, by=wanted.by, log=wanted.log)

    def to_dict(self) -> dict[str, Any]:
        """The settings in plain values, and how many trials they make."""
        return {**self.settings.model_dump(mode="json"), "trials": len(self.trials)}

    def __repr__(self) -> str:
        return f"Sweep({self.settings.name!r}, {len(self.trials)} trials)"

    def progress(self, folder: Path | str) -> SweepProgress:
        """How far the folder's sweep is, also while it runs elsewhere."""
        with Store.read(Path(folder)) as store:
            statuses = store.statuses()
        failed = sum(statuses.get(t.key, False) for t in self.trials)
        ended = sum(t.key in statuses for t in self.trials)
        return SweepProgress(len(self.trials), ended - failed, failed, ended, 0.0)

    def seconds(self, folder: Path | str) -> float:
        """Wall time of the runs that made the folder's rows, those that were killed left out."""
        with Store.read(Path(folder)) as store:
            return float(store.about().get("seconds", 0.0))

    def _describe(self, store: Store, device: str) -> None:
        about = store.about()
        if about and about.get("name") != self.settings.name:
            raise ValueError(
                f"{str(store.path.parent)!r} holds the sweep {about.get('name')!r}, this one is "
                f"{self.settings.name!r}; give another --out"
            )
        made = about.get("versions", [])
        if (versions := _versions(device)) not in made:
            made = [*made, versions]
        store.describe(
            name=self.settings.name, settings=self.settings.model_dump(mode="json"), versions=made
        )


def _versions(device: str) -> dict[str, str]:
    import torch

    from ntkscope._base.version import __version__

    return {
        "ntkscope": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        **({} if device == "cpu" else {"device": device}),
    }


def _without_too_large(work: Sequence[Unit], watch: Watch) -> list[Unit]:
    """The units that fit in what is free; the others are saved as failed, with what they need."""
    free = memory.available()
    for unit in work:
        if unit.nbytes > free:
            reason = (
                f"NotEnoughMemoryError: this trial needs {memory.human(unit.nbytes)}, and "
                f"{memory.human(free)} are free; use a larger machine, or fewer samples"
            )
            watch.save([row_of(trial, {}, reason) for trial in unit.trials])
    return [unit for unit in work if unit.nbytes <= free]
