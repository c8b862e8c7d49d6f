"""``ntkscope lipschitz``: intervals for the Lipschitz constants of the feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.results import write

if TYPE_CHECKING:
    from ntkscope.lipschitz import LipschitzInterval


@dataclass(frozen=True, kw_only=True)
class LipschitzOptions(options.NetworkOptions):
    """A network, and which of its maps."""

    layer: Annotated[int, typer.Option(help="k of g_k; 0: every layer.")] = 0
    start: Annotated[int, typer.Option(help="Of f_start ↦ g_k instead of x ↦ g_k.")] = 0
    starts: Annotated[int, typer.Option(help="Starting points of the search below.")] = 64
    steps: Annotated[int, typer.Option(help="Gradient steps of the search and of the bound.")] = 60
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html, result.json, settings.toml; or one FILE.json."),
    ] = None


def run(about: LipschitzOptions, json: options.Json = False) -> None:
    """Enclose the Lipschitz constant of each pre-activation map g_k: exact where its linear pieces
    can be visited, otherwise the largest Jacobian met and the least of three upper bounds."""
    from ntkscope.lipschitz import lipschitz_interval
    from ntkscope.report.files import to_json, write_all

    network, start = about.network(), about.start
    model = network.sample(about.seed)
    layers = [about.layer] if about.layer else range(start + 1, network.depth + 1)
    search = {"starts": about.starts, "steps": about.steps, "seed": about.seed}
    found = [lipschitz_interval(model, k, start=start, **search) for k in layers]
    record = {
        "network": network.to_dict(),
        "seed": about.seed,
        "intervals": [f.to_dict() for f in found],
    }
    if about.out is not None and about.out.suffix == ".json":
        with options.writing(about.out):
            write_all(about.out.parent, {about.out.name: to_json(record)})
    elif about.out is not None:
        from ntkscope.report.lipschitz_page import page

        again = "ntkscope lipschitz --config settings.toml"
        write(about.out, page(record, str(network)), record, about, again)
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        _show(str(network), found)


app = options.command(run)


def _show(network: str, found: list[LipschitzInterval]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = sorted({name for f in found for name in f.uppers})
    table = Table("layer", "at least", "at most", "exact", *names, "Theorem 6.2 without constant")
    for f in found:
        bounds = [f"{f.uppers[n]:.6g}" if n in f.uppers else "–" for n in names]
        scaling = "–" if f.scaling is None else f"{f.scaling:.4g}"
        table.add_row(
            str(f.layer), f"{f.lower:.8g}", f"{f.upper:.8g}",
            f"{f.pieces} pieces" if f.exact else "no", *bounds, scaling,
        )  # fmt: skip
    console = Console()
    console.print(network, markup=False, highlight=False)
    console.print(table)
