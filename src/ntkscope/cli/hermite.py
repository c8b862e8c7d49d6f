"""``ntkscope hermite``: the Hermite coefficients of an activation."""

from __future__ import annotations

from typing import Annotated

import typer

from ntkscope.cli.options import Style

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    activation: Annotated[str, typer.Argument(help="relu, tanh, gelu, leaky_relu:alpha=0.1, …")],
    variance: Annotated[float, typer.Option(help="a of z ~ N(0, a), above 0.")] = 1.0,
    order: Annotated[int, typer.Option(help="The highest order.")] = 12,
    plot: Annotated[
        str | None, typer.Option(help="Draw coefficients and partial sums to a .png, .pdf or .svg.")
    ] = None,
    style: Style = "screen",
    json: Annotated[bool, typer.Option("--json", help="Print numbers instead of a table.")] = False,
) -> None:
    """Hermite coefficients of an activation, with c = E φ² and ν₀² = σ₀²/c."""
    from rich.console import Console

    from ntkscope.activations.hermite import summary
    from ntkscope.report import files, hermite
    from ntkscope.report import style as styles

    look = styles.Style(style)
    if not variance > 0:
        raise ValueError(f"--variance must be above 0, got {variance}")
    record = summary(activation, order, variance)
    if json:
        typer.echo(files.to_json(record), nl=False)
    else:
        Console(highlight=False).print(hermite.table(record))
    if plot is not None:
        written = hermite.figure(record, plot, look)
        typer.echo(f"The figure: {written}", err=json)
