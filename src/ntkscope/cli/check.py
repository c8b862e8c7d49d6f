"""``ntkscope check``: run the papers' statements on a network and data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import options
from ntkscope.cli import settings as settings_module
from ntkscope.cli.plugin_option import Plugins, load_plugins
from ntkscope.cli.results import write

if TYPE_CHECKING:
    from rich.table import Table

    from ntkscope.statements.verdict import Verdict

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Statements such as nguyen2021.theorem-4.1.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List all statements.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Run all statements.")] = False,
    paper: Annotated[
        str | None, typer.Option(help="Only the statements of one paper, what ids begin with.")
    ] = None,
    plugin: Plugins = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with data and network settings.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Draws behind an expectation.")] = 4096,
    trials: Annotated[int, typer.Option(help="Repetitions behind a success rate.")] = 100,
    delta: Annotated[float, typer.Option(help="The failure probability δ.")] = 0.1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, result.json, settings.toml.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables.")] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="The scaling, as N, d and all widths grow together.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="With --sweep: trials at each size.")] = 5,
    workers: Annotated[int | None, typer.Option(help="With --sweep: local processes.")] = None,
    **given: Any,
) -> None:
    """Run statements of the papers on a network and data: hypotheses, inequalities, constants."""
    from ntkscope.statements.registry import find, statements

    load_plugins(plugin)
    if listing:
        for s in statements(paper):
            typer.echo(f"{s.id:34} {s.title}  ({s.source})")
        return
    chosen = [find(id).id for id in ids or ()]
    if not chosen:
        if not everything and paper is None:
            raise ValueError("say which statements: ids, --paper NAME or --all (--list shows them)")
        chosen = [s.id for s in statements(paper)]
    elif everything:
        raise ValueError(f"--all runs every statement; leave out {', '.join(chosen)}, or --all")
    if sweep:
        from ntkscope.cli.check_sweep import check_over_sweep

        about = settings_module.read(options.Problem, config, given)
        check_over_sweep(chosen, about, seeds, workers, out, json)
        return
    budget = {"samples": samples, "trials": trials, "delta": delta}
    about = settings_module.read(options.Problem, config, given)
    verdicts = _check(chosen, about, budget)
    if out is not None:
        what = list(ids or ()) or [f"--paper {paper}" if paper else "--all"]
        write_page(verdicts, out, about, again(what, budget))
    _show(verdicts, out, json, latex)


app.command()(options.takes(options.NETWORK, run))


def _check(ids: list[str], settings: options.Problem, budget: dict[str, Any]) -> list[Verdict]:
    from ntkscope.report.terminal import ProgressBar
    from ntkscope.statements.check import check_all
    from ntkscope.statements.instance import Instance

    network, dataset = settings.network(), settings.dataset()
    instance = Instance(
        network, dataset.X, seed=settings.seed, distribution=dataset.distribution, **budget
    )
    facts = {"data": dataset.source, "options": _options(settings, budget)}
    verdicts = []
    with ProgressBar() as progress:
        for done, id in enumerate(ids):
            progress(id, done / len(ids))
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
    from rich.console import Console

    from ntkscope.report import files
    from ntkscope.report.check_text import as_text

    width = shutil.get_terminal_size((120, 24)).columns
    records = [v.to_dict() for v in verdicts]
    if as_json:
        typer.echo(files.to_json(records), nl=False)
    elif latex:
        typer.echo("\n\n".join(v.to_latex() for v in verdicts))
    elif len(verdicts) <= 3:
        typer.echo("\n\n".join(as_text(r, width) for r in records))
    else:
        Console(highlight=False, width=width).print(outcomes(verdicts, width))
    if out is not None:
        typer.echo(f"The page: {out / files.REPORT}", err=as_json or latex)


_COUNTED = {
    "hyp": ("hypotheses", ("met", "needs constant", "cannot be tested by a sample", "not met")),
    "steps": ("steps", ("holds", "vacuous", "below rounding", "open", "violated")),
    "events": ("events", ("reached", "open", "promised 0", "promised no number", "missed")),
}  # column: what is counted, and by which words


def outcomes(verdicts: list[Verdict], width: int = 120) -> Table:
    """One row a statement: outcome, conclusion, and, from 110 columns, what its findings come to."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, expand=True)
    table.add_column("statement", no_wrap=True)
    table.add_column("outcome", max_width=19)
    table.add_column("conclusion", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = _COUNTED if width >= 110 else {}
    for name in shown:
        table.add_column(name, no_wrap=True)
    for v in verdicts:
        r = v.to_dict()
        counted = {
            "hyp": [h["state"] for h in r["hypotheses"]],
            "steps": [c["outcome"] for c in r["inequalities"] if c["kind"] == "step"],
            "events": [e["outcome"] for e in r["events"]],
        }
        table.add_row(v.id, v.outcome.value, r["summary"].replace("[", r"\["),
                      *(_counts(counted[n], words) for n, (_, words) in shown.items()))  # fmt: skip
    table.caption = "; ".join(f"{what}: {'/'.join(words)}" for what, words in shown.values())
    return table


def _counts(found: list[str], words: tuple[str, ...]) -> str:
    """``4/2/0/1``, how many there are of each word; a dash where there is none of any."""
    return "/".join(str(found.count(word)) for word in words) if found else "–"
