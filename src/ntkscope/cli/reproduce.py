"""``ntkscope reproduce``: the papers' figures, and those beyond them, from one command each."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkscope.cli import running
from ntkscope.cli.plugin_option import Plugins, load_plugins

if TYPE_CHECKING:
    from ntkscope.experiments.figures.figure import Scale

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    figure: Annotated[str | None, typer.Argument(help="An id of --list.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Every figure with its claim.")] = False,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="The paper's size, or minutes on two cores.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder; out/reproduce/ID-SIZE by default.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help='A part of the grid, such as "N <= 2000 and i <= 10".')
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw what the folder holds; run nothing.")
    ] = False,
    plugin: Plugins = None,
    retry_failed: running.RetryFailed = False,
    workers: running.Workers = None,
    cluster: running.Cluster = None,
    tls_files: running.TlsFiles = None,
    quiet: running.Quiet = False,
) -> None:
    """Make a figure: PNG, PDF, CSV, JSON with fits and verdict, and an HTML page."""
    load_plugins(plugin)
    if show_list:
        _list()
        return
    if figure is None:
        raise ValueError("name a figure, such as bombari2022-figure-1; --list shows all")
    from ntkscope.experiments.figures.reproduce import reproduce

    scale: Scale = "full" if full else "quick"
    engine = running.make_engine(workers, cluster, tls_files)
    with running.live(quiet or draw) as progress:
        made = reproduce(
            figure, scale, out, engine, only=only, retry_failed=retry_failed, run=not draw,
            progress=progress,
        )  # fmt: skip
    typer.echo(f"{made.figure.title}\n  claim: {made.figure.claim}")
    typer.echo(f"  {made.analysis.summary}")
    for found in (*made.analysis.verdicts, *made.analysis.constants):
        typer.echo(textwrap.indent(str(found), "  "))
    for what, value in made.analysis.facts:
        typer.echo(f"  {what}: {value}")
    typer.echo(f"  {running.describe(made.progress)}, {made.seconds:.0f} s")
    typer.echo(f"  {made.folder / 'report.html'}")
    if made.progress.failed:
        raise typer.Exit(1)


def _list() -> None:
    from ntkscope.experiments.figures.gallery import figures

    for found in figures():
        typer.echo(f"{found.id}\n  {found.title}\n  {found.source}\n  {found.claim}")
