"""``ntkscope fit``: the constant of a scaling law, from a sweep or a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkscope.cli import options, running
from ntkscope.cli.plugin_option import Plugins

if TYPE_CHECKING:
    from ntkscope.experiments.reading.table import Table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    source: Annotated[
        Path,
        typer.Argument(
            help="A sweep's settings (.toml), which is run first; its folder; or a .csv."
        ),
    ],
    x: Annotated[str, typer.Option(help="A column or an expression: d, L*d, n_1*n_2.")],
    y: Annotated[
        str, typer.Option(help="Columns or expressions: lambda_min/d, or lambda_min,lambda_max.")
    ] = "lambda_min",
    exponent: Annotated[float, typer.Option(help="Of x, that the constant is fitted at.")] = 1.0,
    by: Annotated[str | None, typer.Option(help="A fit for each value of this column.")] = None,
    out: Annotated[Path | None, typer.Option(help="Of a .toml: the sweep's folder.")] = None,
    plugin: Plugins = None,
    workers: running.Workers = None,
    quiet: running.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fit y = c · x^exponent: the constant with its interval, beside the free exponent and a line."""
    from ntkscope.experiments.design.expressions import listed
    from ntkscope.experiments.reading.constants import fit_constant
    from ntkscope.report.files import to_json

    table = _table(source, out, plugin, workers, quiet or json)
    fits = [fit for one in listed(y) for fit in fit_constant(table, one, x, exponent, by)]
    typer.echo(
        to_json([f.to_dict() for f in fits]) if json else "\n".join(map(str, fits)), nl=not json
    )


def _table(
    source: Path, out: Path | None, plugin: Plugins, workers: int | None, quiet: bool
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
        sweep.run(folder, running.make_engine(workers, None, None), progress=progress)
    return sweep.table(folder)
