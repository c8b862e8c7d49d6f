"""``ntkscope falsify``: search for the instance that violates a statement most."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import completion, options, progress
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins, load_plugins
from ntkscope.cli.printing import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(
    epilog=examples(
        "ntkscope falsify nguyen2021.lemma-5.4",
        "ntkscope falsify nguyen2021.lemma-5.5 --trials 1000 --seconds 300 --out found.json",
    )
)
def run(
    ids: Annotated[
        list[str],
        typer.Argument(
            help="Statements such as nguyen2021.lemma-5.4.",
            metavar="ID...",
            autocompletion=completion.statements,
        ),
    ],
    trials: Annotated[int, typer.Option(help="Instances to try.", metavar="N")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the search.", metavar="N")] = 0,
    seconds: Annotated[
        float, typer.Option(help="Stop searching after this long, each.", metavar="S")
    ] = 60.0,
    shrink: Annotated[bool, typer.Option(help="Make a counterexample as small as it goes.")] = True,
    everywhere: Annotated[
        bool, typer.Option(help="Count instances on which a hypothesis is not met as well.")
    ] = False,
    plugin: Plugins = None,
    out: Annotated[
        Path | None, options.out("Write what was found to this JSON file.", "FILE.json")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Search widths, data, seeds and parameters for the instance that violates a statement most,
    shrink it and confirm it in ball arithmetic; for Ω, O and Θ the extreme constants met."""
    from ntkscope.report import files
    from ntkscope.statements.falsify import falsify

    options.try_out(out, folder=False)
    load_plugins(plugin)
    found = []
    with progress.quiet(quiet), progress.ProgressBar() as bar:
        for id in ids:
            found.append(
                falsify(id, trials=trials, seed=seed, seconds=seconds, shrink=shrink, everywhere=everywhere,
                        progress=bar)
            )  # fmt: skip
    record = files.to_json([f.to_dict() for f in found])
    if json:
        typer.echo(record, nl=False)
    for result in () if json else found:
        say(str(result))
    if out is not None:
        with options.writing(out):
            files.write_all(out.parent, {out.name: record})
