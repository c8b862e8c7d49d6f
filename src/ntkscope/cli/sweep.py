"""``ntkscope sweep``: many trials from one settings file, and what came of them."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import options, running
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins
from ntkscope.cli.printing import say
from ntkscope.cli.results import write

if TYPE_CHECKING:
    from ntkscope.experiments.sweep import Sweep

_CORE: Any = typer.core.TyperGroup


class _FileRuns(_CORE):  # type: ignore[misc]  # typer's group is Any to mypy
    """``sweep FILE.toml`` means ``sweep run FILE.toml``."""

    def parse_args(self, context: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(context, args)


app = typer.Typer(
    epilog=examples(
        "ntkscope sweep run.toml",
        "ntkscope sweep status out/sweeps/run",
        "ntkscope sweep plot out/sweeps/run --x N --y lambda_min --log",
    ),
    cls=_FileRuns, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Many trials from one settings file: `ntkscope sweep run.toml`; every row is saved as it "
    "comes, and the same command resumes the last one.",
)  # fmt: skip

Folder = Annotated[Path, typer.Argument(help="The folder that the sweep writes to.", metavar="DIR")]


@app.command(epilog=examples("ntkscope sweep run.toml --workers 4 --out out/mine"))
def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="Settings, see docs/reference/sweeps.md.")
    ],
    out: Annotated[Path | None, options.out("Folder; out/sweeps/NAME by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with what the folder holds.")
    ] = True,
    plugin: Plugins = None,
    retry_failed: running.RetryFailed = False,
    workers: running.Workers = None,
    cluster: running.Cluster = None,
    tls_files: running.TlsFiles = None,
    device: running.Device = "cpu",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run the trials that are not done yet; then write the table, the plot and the fits."""
    from ntkscope.experiments.design.settings import read_settings, with_plugins
    from ntkscope.experiments.running.store import FILE
    from ntkscope.experiments.sweep import Sweep
    from ntkscope.report.files import to_json

    sweep = Sweep(with_plugins(read_settings(file), plugin or ()))
    folder = out or Path("out/sweeps") / sweep.settings.name
    options.try_out(folder)
    if not resume and (folder / FILE).exists():
        raise ValueError(f"{str(folder)!r} holds a sweep already; move it away, or give --resume")
    engine = running.make_engine(workers, cluster, tls_files, device)
    with running.live(quiet) as progress:
        ended = sweep.run(folder, engine, retry_failed=retry_failed, progress=progress)
    if not json:
        say(f"{running.describe(ended)} in {ended.seconds:.1f} s; {folder}")
    fits = _finish(sweep, folder)
    if json:
        record = {"folder": folder, "progress": asdict(ended), "fits": [f.to_dict() for f in fits]}
        typer.echo(to_json(record), nl=False)
    else:
        for fit in fits:
            say(textwrap.indent(str(fit), "  "))
        say(f"The page: {folder / 'report.html'}")
    if ended.failed:
        say(
            f"see `ntkscope sweep status {folder}` for the errors; --retry-failed tries again",
            err=json,
        )
        raise typer.Exit(1)


@app.command(epilog=examples("ntkscope sweep status out/sweeps/run"))
def status(folder: Folder, json: options.Json = False) -> None:
    """How far a sweep is, also while it runs, and which errors it met."""
    from ntkscope.experiments.sweep import Sweep
    from ntkscope.report.files import to_json

    sweep = Sweep.of(folder)
    now = sweep.progress(folder)
    table = sweep.table(folder)
    counts: dict[str, int] = {}
    for record in table.records:
        if "error" in record:
            counts[record["error"]] = counts.get(record["error"], 0) + 1
    waiting = now.total - now.ended
    errors = sorted(counts.items(), key=lambda item: -item[1])
    if json:
        record = {"name": sweep.settings.name, **asdict(now), "waiting": waiting, "errors": counts}
        typer.echo(to_json(record), nl=False)
        return
    say(f"{sweep.settings.name}: {running.describe(now)}, {waiting} waiting")
    for error, count in errors[:10]:
        say(f"  {count} × {error}")


@app.command(epilog=examples("ntkscope sweep export out/sweeps/run --to table.parquet"))
def export(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet; CSV in the folder.", metavar="FILE")
    ] = None,
    timings: Annotated[bool, typer.Option(help="Add seconds and worker of each trial.")] = False,
    aggregate: Annotated[
        bool,
        typer.Option("--aggregate", help="Mean, standard error and n of each group of trials."),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="Of --aggregate: group by these columns; the grid's.", metavar="COLUMN,…"
        ),
    ] = None,
    y: Annotated[
        str | None,
        typer.Option(
            help="Of --aggregate: these columns or expressions; all numbers.", metavar="COLUMN,…"
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write the table as CSV or Parquet, also while the sweep runs."""
    from ntkscope.experiments.design.expressions import listed
    from ntkscope.experiments.sweep import Sweep

    if (by or y) and not aggregate:
        raise ValueError("--by and --y say how to aggregate; add --aggregate")
    target = to or folder / ("aggregate.csv" if aggregate else "table.csv")
    sweep = Sweep.of(folder)
    table = sweep.table(folder, timings)
    if aggregate:
        table = table.aggregate(*(listed(by) if by else ()), y=listed(y) if y else ())
    table.save(target)
    if to is None:
        _write_page(sweep, folder)
    _tell({"rows": len(table), "written": target}, f"{len(table)} rows in {target}", json)


@app.command(
    epilog=examples("ntkscope sweep plot out/sweeps/run --x N --by d --log --to curves.pdf")
)
def plot(
    folder: Folder,
    x: Annotated[
        str | None, typer.Option(help="Column on the horizontal axis.", metavar="COLUMN")
    ] = None,
    y: Annotated[
        str,
        typer.Option(
            help="Columns whose mean and spread are drawn: lambda_min,trace/N.", metavar="COLUMN,…"
        ),
    ] = "lambda_min",
    by: Annotated[
        str | None,
        typer.Option(help="A curve for each value of this column.", metavar="COLUMN"),
    ] = None,
    log: Annotated[bool, typer.Option(help="Logarithmic axes.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="A .png or .pdf; plot.png in the folder.", metavar="FILE"),
    ] = None,
    style: options.Style = "screen",
    json: options.Json = False,
) -> None:
    """Draw the mean and one standard deviation of a column."""
    from ntkscope.experiments.design.expressions import listed
    from ntkscope.experiments.design.settings import PlotSettings
    from ntkscope.experiments.sweep import Sweep

    sweep = Sweep.of(folder)
    wanted = PlotSettings(x=x, y=list(listed(y)), by=by, log=log) if x else sweep.settings.plot
    if wanted is None:
        raise ValueError("say what to draw: --x COLUMN (and --y, --by), or [plot] in the settings")
    target = to or folder / "plot.png"
    _draw(sweep, folder, wanted, target, style)
    if to is None:
        _write_page(sweep, folder, wanted)
    _tell({"written": target}, str(target), json)


def _tell(record: dict[str, Any], text: str, as_json: bool) -> None:
    from ntkscope.report.files import to_json

    if as_json:
        typer.echo(to_json(record), nl=False)
    else:
        say(text)


def _finish(sweep: Sweep, folder: Path) -> list[Any]:
    """The table, and the plot and the fits where the settings ask for them; returns the fits."""
    table = sweep.table(folder)
    table.save(folder / "table.csv")
    if sweep.settings.plot is not None and len(table):
        _draw(sweep, folder, sweep.settings.plot, folder / "plot.png")
    return _write_page(sweep, folder)


def _write_page(sweep: Sweep, folder: Path, wanted: Any = None) -> list[Any]:
    """report.html, result.json, settings.toml and, where the settings ask for fits, these."""
    from ntkscope.experiments.reading.analysis import fit_all
    from ntkscope.experiments.summary import settings_of, summarize
    from ntkscope.report.files import to_json
    from ntkscope.report.sweep_page import page

    fits = fit_all(sweep.table(folder), sweep.settings.fit) if sweep.settings.fit else []
    record = summarize(sweep, folder, fits, wanted)
    more = {"fits.json": to_json(record["fits"])} if fits else {}
    write(
        folder,
        page(record),
        record,
        settings_of(sweep.settings),
        "ntkscope sweep settings.toml",
        more,
    )
    return fits


def _draw(sweep: Sweep, folder: Path, wanted: Any, target: Path, style: str = "screen") -> None:
    from ntkscope._base.files import save_figure
    from ntkscope.experiments.reading import drawing
    from ntkscope.report import style as styles

    look = styles.Style(style)

    if target.suffix not in (".png", ".pdf"):
        raise ValueError(f"plots are written as .png or .pdf, got {target.name!r}")
    # an unknown column is told before anything is drawn
    table = sweep.table(folder).having(wanted.x, *wanted.ys, wanted.by)
    with look.drawing():
        figure, axes = drawing.make_axes(style=look)
        drawing.overlaid(axes[0], table, wanted.x, wanted.ys, wanted.by, wanted.log)
        look.typeset(figure)
        save_figure(figure, target)
