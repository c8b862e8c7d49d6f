"""``ntkscope falsify``: search for the instance that violates a statement most."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli.plugin_option import Plugins, load_plugins

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    ids: Annotated[list[str], typer.Argument(help="Statements such as nguyen2021.lemma-5.4.")],
    trials: Annotated[int, typer.Option(help="Instances to try.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    seconds: Annotated[float, typer.Option(help="Stop searching after this long, each.")] = 60.0,
    shrink: Annotated[bool, typer.Option(help="Make a counterexample as small as it goes.")] = True,
    everywhere: Annotated[
        bool, typer.Option(help="Count instances on which a hypothesis is not met as well.")
    ] = False,
    plugin: Plugins = None,
    out: Annotated[
        Path | None, typer.Option(help="Write what was found to this JSON file.")
    ] = None,
) -> None:
    """Search widths, data, seeds and parameters for the instance that violates a statement most,
    shrink it and confirm it in ball arithmetic; for Ω, O and Θ the extreme constants met."""
    from ntkscope.report import files
    from ntkscope.report.terminal import ProgressBar
    from ntkscope.statements.falsify import falsify

    load_plugins(plugin)
    found = []
    with ProgressBar() as progress:
        for id in ids:
            found.append(
                falsify(id, trials=trials, seed=seed, seconds=seconds, shrink=shrink, everywhere=everywhere,
                        progress=progress)
            )  # fmt: skip
    for result in found:
        typer.echo(str(result))
    if out is not None:
        files.write_all(out.parent, {out.name: files.to_json([f.to_dict() for f in found])})
