"""``ntkscope hermite``: the Hermite coefficients of an activation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import completion, options
from ntkscope.cli.examples import examples
from ntkscope.cli.printing import draw

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog=examples(
        "ntkscope hermite gelu --order 20",
        "ntkscope hermite leaky_relu:alpha=0.1 --variance 2 --plot out/coefficients.pdf",
    )
)
def run(
    activation: Annotated[
        str,
        typer.Argument(
            help="relu, tanh, gelu, leaky_relu:alpha=0.1, …",
            metavar="ACTIVATION",
            autocompletion=completion.activations,
        ),
    ],
    variance: Annotated[
        float, typer.Option(help="The variance of z ~ N(0, a), above 0.", metavar="a")
    ] = 1.0,
    order: Annotated[int, typer.Option(help="The highest order.", metavar="N")] = 12,
    plot: Annotated[
        str | None,
        options.option(
            "Draw coefficients and partial sums to a .png, .pdf or .svg.",
            panel=options.OUTPUT,
            metavar="FILE",
        ),
    ] = None,
    style: options.Style = "screen",
    json: options.Json = False,
) -> None:
    """Hermite coefficients of an activation, with c = E φ² and ν₀² = σ₀²/c."""
    from ntkscope.activations.hermite import summary
    from ntkscope.report import files, hermite
    from ntkscope.report import style as styles

    look = styles.Style(style)
    if not variance > 0:
        raise ValueError(f"--variance must be above 0, got {variance}")
    if plot is not None:
        if Path(plot).suffix not in (".png", ".pdf", ".svg"):
            raise ValueError(f"--plot writes a .png, .pdf or .svg, got {plot!r}")
        options.try_out(plot, folder=False, name="--plot")
    record = summary(activation, order, variance)
    if json:
        typer.echo(files.to_json(record), nl=False)
    else:
        draw(hermite.table(record))
    if plot is not None:
        written = hermite.figure(record, plot, look)
        typer.echo(f"The figure: {written}", err=json)
