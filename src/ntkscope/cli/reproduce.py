"""``ntkscope reproduce``: the papers' figures, and those beyond them, from one command each."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkscope.cli import completion, options, running
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins, load_plugins
from ntkscope.cli.printing import say

if TYPE_CHECKING:
    from ntkscope.experiments.figures.figure import Scale

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog=examples(
        "ntkscope reproduce --list",
        "ntkscope reproduce nguyen2021-figure-2-left --quick",
        'ntkscope reproduce bombari2022-figure-1 --full --only "N <= 2000"',
    )
)
def run(
    figure: Annotated[
        str | None,
        typer.Argument(
            help="An id of --list.", metavar="[FIGURE]", autocompletion=completion.figures
        ),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Every figure with its claim.")] = False,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="The paper's size, or minutes on two cores.")
    ] = False,
    out: Annotated[Path | None, options.out("Folder; out/reproduce/ID-SIZE by default.")] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help='A part of the grid, such as "N <= 2000 and i <= 10".', metavar="CONDITION"
        ),
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw what the folder holds; run nothing.")
    ] = False,
    style: options.Style = "screen",
    plugin: Plugins = None,
    retry_failed: running.RetryFailed = False,
    workers: running.Workers = None,
    cluster: running.Cluster = None,
    tls_files: running.TlsFiles = None,
    device: running.Device = "cpu",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a figure: PNG, PDF, CSV, JSON with fits and verdict, and an HTML page."""
    options.try_out(out)
    load_plugins(plugin)
    if show_list:
        _list(json)
        return
    if figure is None:
        raise ValueError("name a figure, such as bombari2022-figure-1; --list shows all")
    from ntkscope.experiments.figures.reproduce import reproduce

    scale: Scale = "full" if full else "quick"
    engine = running.make_engine(workers, cluster, tls_files, device)
    with running.live(quiet or draw) as progress:
        made = reproduce(
            figure, scale, out, engine, only=only, retry_failed=retry_failed, run=not draw,
            progress=progress, style=style,
        )  # fmt: skip
    if json:
        record = next(path for path in made.paths if path.name == "result.json")
        typer.echo(record.read_text(), nl=False)
        raise typer.Exit(int(bool(made.progress.failed)))
    say(f"{made.figure.title}\n  claim: {made.figure.claim}")
    say(f"  {made.analysis.summary}")
    for found in (*made.analysis.verdicts, *made.analysis.constants):
        say(textwrap.indent(str(found), "  "))
    for what, value in made.analysis.facts:
        say(f"  {what}: {value}")
    say(f"  {running.describe(made.progress)}, {made.seconds:.0f} s")
    say(f"  {made.folder / 'report.html'}")
    if made.progress.failed:
        raise typer.Exit(1)


def _list(as_json: bool) -> None:
    from ntkscope.experiments.figures.gallery import figures
    from ntkscope.report.files import to_json

    rows = [{"id": f.id, "title": f.title, "source": f.source, "claim": f.claim} for f in figures()]
    if as_json:
        typer.echo(to_json(rows), nl=False)
    for row in () if as_json else rows:
        say("\n  ".join(row.values()))
