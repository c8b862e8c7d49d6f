"""``ntkscope check``: run the papers' statements on a network and data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import completion, options, progress
from ntkscope.cli import settings as settings_module
from ntkscope.cli.examples import examples
from ntkscope.cli.plugin_option import Plugins, load_plugins
from ntkscope.cli.printing import draw, say, width
from ntkscope.cli.results import write

if TYPE_CHECKING:
    from rich.table import Table

    from ntkscope.statements.statement import Statement
    from ntkscope.statements.verdict import Verdict

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Statements such as nguyen2021.theorem-4.1.",
            metavar="[ID]...",
            autocompletion=completion.statements,
        ),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List all statements.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Run all statements.")] = False,
    paper: Annotated[
        str | None,
        typer.Option(
            "--paper",
            help="Only the statements of one paper, what ids begin with.",
            metavar="PAPER",
            autocompletion=completion.papers,
        ),
    ] = None,
    plugin: Plugins = None,
    config: options.Config = None,
    samples: Annotated[int, typer.Option(help="Draws behind an expectation.", metavar="N")] = 4096,
    trials: Annotated[
        int, typer.Option(help="Repetitions behind a success rate.", metavar="N")
    ] = 100,
    delta: Annotated[float, typer.Option(help="The failure probability.", metavar="δ")] = 0.1,
    out: Annotated[
        Path | None, options.out("Folder for report.html, result.json, settings.toml.")
    ] = None,
    json: options.Json = False,
    latex: Annotated[
        bool, options.option("Print LaTeX tables.", "--latex", panel=options.OUTPUT)
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="The scaling, as N, d and all widths grow together.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="With --sweep: trials at each size.", metavar="N")] = 5,
    workers: Annotated[
        int | None, typer.Option(help="With --sweep: local processes.", metavar="N")
    ] = None,
    quiet: options.Quiet = False,
    **given: Any,
) -> None:
    """Run statements of the papers on a network and data: hypotheses, inequalities, constants."""
    from ntkscope.statements.registry import statements

    options.try_out(out)
    load_plugins(plugin)
    if listing:
        _list(statements(paper), json)
        return
    chosen = _chosen(ids or (), everything, paper)
    if sweep:
        from ntkscope.cli.check_sweep import check_over_sweep

        about = settings_module.read(options.Problem, config, given)
        check_over_sweep(chosen, about, seeds, workers, out, json, quiet)
        return
    budget = {"samples": samples, "trials": trials, "delta": delta}
    plugins = [f"--plugin {shlex.quote(one)}" for one in plugin or ()]
    about = settings_module.read(options.Problem, config, given)
    with progress.quiet(quiet):
        verdicts = _check(chosen, about, budget, plugins)
    if out is not None:
        what = list(ids or ()) or [f"--paper {paper}" if paper else "--all"]
        write_page(verdicts, out, about, again([*what, *plugins], budget))
    _show(verdicts, out, json, latex)


def _chosen(ids: Sequence[str], everything: bool, paper: str | None) -> list[str]:
    """The ids of the statements that are asked for. Raises ValueError where it is none, or both ids and all."""
    from ntkscope.statements.registry import find, statements

    chosen = [find(id).id for id in ids]
    if chosen and everything:
        raise ValueError(f"--all runs every statement; leave out {', '.join(chosen)}, or --all")
    if not (chosen or everything or paper is not None):
        raise ValueError("say which statements: ids, --paper NAME or --all (--list shows them)")
    return chosen or [s.id for s in statements(paper)]


app.command(
    epilog=examples(
        "ntkscope check --list --paper nguyen2021",
        "ntkscope check nguyen2021.theorem-3.2 --data sphere:N=100,d=20 --widths 20,200,1",
        "ntkscope check --all --data sphere:N=100,d=20 --widths 20,200,1 --out out/check",
    )
)(options.takes(options.NETWORK, run))


def _list(found: Sequence[Statement], as_json: bool) -> None:
    """Id, title and source of each, in two lines where one is too short."""
    if as_json:
        from ntkscope.report.files import to_json

        rows = [{"id": s.id, "title": s.title, "source": s.source} for s in found]
        typer.echo(to_json(rows), nl=False)
        return
    for s in found:
        line = f"{s.id:34} {s.title}  ({s.source})"
        fits = not width() or len(line) <= width()
        say(line if fits else f"{s.id}\n    {s.title} ({s.source})")


def _check(
    ids: list[str], settings: options.Problem, budget: dict[str, Any], plugins: list[str]
) -> list[Verdict]:
    from ntkscope.statements.check import check_all
    from ntkscope.statements.instance import Instance

    network, dataset = settings.network(), settings.dataset()
    instance = Instance(
        network, dataset.X, seed=settings.seed, distribution=dataset.distribution, **budget
    )
    facts = {"data": dataset.source, "options": " ".join([_options(settings, budget), *plugins])}
    verdicts: list[Verdict] = []
    with progress.ProgressBar() as bar:
        for done, id in enumerate(ids):
            bar(id, done / len(ids))
            verdicts += check_all(instance, [id], facts)
    return verdicts


def _options(settings: Any, budget: dict[str, Any]) -> str:
    """The options that differ from their defaults, as one would type them."""
    return " ".join([settings_module.as_typed(settings), *_spent(budget)])


def _spent(budget: dict[str, Any]) -> list[str]:
    defaults = {"samples": 4096, "trials": 100, "delta": 0.1}
    return [f"--{k} {v}" for k, v in budget.items() if v != defaults[k]]


def again(what: list[str], budget: dict[str, Any] | None = None) -> str:
    """The command that makes the run again beside its settings.toml."""
    return " ".join(["ntkscope check", *what, *_spent(budget or {}), "--config settings.toml"])


def write_page(verdicts: list[Verdict], out: Path, settings: Any, again: str) -> None:
    """The page, the numbers and the settings of a run."""
    from ntkscope.report import check_page

    records = [v.to_dict() for v in verdicts]
    write(out, check_page.page(records, verdicts[0].settings), records, settings, again)


def _show(verdicts: list[Verdict], out: Path | None, as_json: bool, latex: bool) -> None:
    from ntkscope.report import files
    from ntkscope.report.check_text import as_text

    columns = width() or 120
    records = [v.to_dict() for v in verdicts]
    if as_json:
        typer.echo(files.to_json(records), nl=False)
    elif latex:
        typer.echo("\n\n".join(v.to_latex() for v in verdicts))
    elif len(verdicts) <= 3:
        typer.echo("\n\n".join(as_text(r, columns) for r in records))
    else:
        draw(outcomes(verdicts, width() or 80))
    if out is not None:
        typer.echo(f"The page: {out / files.REPORT}", err=as_json or latex)


_COUNTED = {
    "hyp": ("hypotheses", ("met", "needs constant", "cannot be tested by a sample", "not met")),
    "steps": ("steps", ("holds", "vacuous", "below rounding", "open", "violated")),
    "events": ("events", ("reached", "open", "promised 0", "promised no number", "missed")),
}  # column: what is counted, and by which words


def outcomes(verdicts: list[Verdict], columns: int = 120) -> Table:
    """One row a statement: outcome, conclusion, and, from 110 columns, what its findings come to."""
    from rich import box
    from rich.table import Table

    wide = columns >= 110
    table = Table(box=box.SIMPLE, pad_edge=False, expand=True)
    table.add_column("statement", overflow="fold")
    if wide:
        table.add_column("outcome", max_width=19)
        table.add_column("conclusion", no_wrap=True, overflow="ellipsis", ratio=1)
    else:
        table.add_column("outcome: conclusion", overflow="fold", ratio=1)
    shown = _COUNTED if wide else {}
    for name in shown:
        table.add_column(name, no_wrap=True)
    for v in verdicts:
        r = v.to_dict()
        counted = {
            "hyp": [h["state"] for h in r["hypotheses"]],
            "steps": [c["outcome"] for c in r["inequalities"] if c["kind"] == "step"],
            "events": [e["outcome"] for e in r["events"]],
        }
        said = (v.outcome.value, r["summary"])
        told = said if wide else (": ".join(filter(None, said)),)
        table.add_row(v.id, *told, *(_counts(counted[n], words) for n, (_, words) in shown.items()))
    table.caption = "; ".join(f"{what}: {'/'.join(words)}" for what, words in shown.values())
    return table


def _counts(found: list[str], words: tuple[str, ...]) -> str:
    """``4/2/0/1``, how many there are of each word; a dash where there is none of any."""
    return "/".join(str(found.count(word)) for word in words) if found else "–"
