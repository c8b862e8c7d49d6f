"""``ntkscope cite``: BibTeX of ntkscope and of the papers whose statements it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins, load_plugins

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=examples("ntkscope cite", "ntkscope cite nguyen2021 bombari2022 > ntk.bib"))
def run(
    papers: Annotated[
        list[str] | None,
        typer.Argument(help="Papers such as nguyen2021; all unless given.", metavar="PAPER"),
    ] = None,
    paper: Annotated[
        list[str] | None,
        typer.Option(
            "--paper", help="This paper alone, without ntkscope. Repeatable.", metavar="PAPER"
        ),
    ] = None,
    plugin: Plugins = None,
    json: options.Json = False,
) -> None:
    """Print BibTeX of this version of ntkscope and of papers, those of plugins included."""
    from ntkscope._base.specs import unknown
    from ntkscope.report import bibtex
    from ntkscope.report.files import to_json
    from ntkscope.statements.registry import papers as registered

    load_plugins(plugin)
    known = {p.key: p for p in registered() if p.bibtex or p.citation}
    chosen = [*(papers or ()), *(paper or ())]
    for key in chosen:
        if key not in known:
            raise ValueError(unknown("paper", key, tuple(known)))
    entries = {} if paper and not papers else {"ntkscope": bibtex.own()}
    entries |= {key: known[key].to_bibtex() for key in dict.fromkeys(chosen or known)}
    typer.echo(to_json(entries) if json else "\n\n".join(entries.values()), nl=not json)
