"""``ntkscope fit``: the constant of a scaling law, from a sweep or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkscope.cli import options, running
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins
from ntkscope.cli.printing import say

if TYPE_CHECKING:
    from ntkscope.experiments.reading.table import Table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog=examples(
        "ntkscope fit out/sweeps/width --x n_1 --y lambda_min/d",
        "ntkscope fit run.toml --x d --exponent 2 --by N --json",
    )
)
def run(
    source: Annotated[
        Path,
        typer.Argument(
            help="A sweep's settings (.toml), which is run first; its folder; or a .csv.",
            metavar="SOURCE",
        ),
    ],
    x: Annotated[
        str, typer.Option(help="A column or an expression: d, L*d, n_1*n_2.", metavar="COLUMN")
    ],
    y: Annotated[
        str,
        typer.Option(
            help="Columns or expressions: lambda_min/d, or lambda_min,lambda_max.",
            metavar="COLUMN,…",
        ),
    ] = "lambda_min",
    exponent: Annotated[
        float, typer.Option(help="Of x, that the constant is fitted at.", metavar="P")
    ] = 1.0,
    by: Annotated[
        str | None,
        typer.Option(help="A fit for each value of this column.", metavar="COLUMN"),
    ] = None,
    out: Annotated[Path | None, options.out("Of a .toml: the sweep's folder.")] = None,
    plugin: Plugins = None,
    workers: running.Workers = None,
    device: running.Device = "cpu",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit y = c · x^exponent: the constant with its interval, beside the free exponent and a line."""
    from ntkscope.experiments.design.expressions import listed
    from ntkscope.experiments.reading.constants import fit_constant
    from ntkscope.report.files import to_json

    options.try_out(out)
    table = _table(source, out, plugin, workers, device, quiet or json)
    fits = [fit for one in listed(y) for fit in fit_constant(table, one, x, exponent, by)]
    if json:
        typer.echo(to_json([f.to_dict() for f in fits]), nl=False)
    else:
        say("\n".join(map(str, fits)))


def _table(
    source: Path, out: Path | None, plugin: Plugins, workers: int | None, device: str, quiet: bool
) -> Table:
    from ntkscope.experiments.reading.table import read_csv
    from ntkscope.experiments.sweep import Sweep

    if source.suffix == ".csv":
        if not source.exists():
            raise FileNotFoundError(f"no table {str(source)!r}")
        return read_csv(source)
    if source.suffix != ".toml":
        return Sweep.of(source).table(source)
    from ntkscope.experiments.design.settings import read_settings, with_plugins

    sweep = Sweep(with_plugins(read_settings(source), plugin or ()))
    folder = out or Path("out/sweeps") / sweep.settings.name
    with running.live(quiet) as progress:
        sweep.run(folder, running.make_engine(workers, None, None, device), progress=progress)
    return sweep.table(folder)
