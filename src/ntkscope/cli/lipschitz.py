"""``ntkscope lipschitz``: intervals for the Lipschitz constants of the feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ntkscope.cli import options
from ntkscope.cli.printing import draw, say
from ntkscope.cli.results import write


@dataclass(frozen=True, kw_only=True)
class LipschitzOptions(options.NetworkOptions):
    """A network, and which of its maps."""

    layer: Annotated[int, typer.Option(help="k of g_k; 0: every layer.", metavar="k")] = 0
    start: Annotated[
        int, typer.Option(help="Of f_start ↦ g_k instead of x ↦ g_k.", metavar="k")
    ] = 0
    starts: Annotated[
        int, typer.Option(help="Starting points of the search below.", metavar="N")
    ] = 64
    steps: Annotated[
        int, typer.Option(help="Gradient steps of the search and of the bound.", metavar="N")
    ] = 60
    out: Annotated[
        Path | None,
        options.out(
            "Folder for report.html, result.json, settings.toml; or one FILE.json.", "DIR|FILE.json"
        ),
    ] = None


def run(about: LipschitzOptions, json: options.Json = False) -> None:
    """Enclose the Lipschitz constant of each pre-activation map g_k: exact where its linear pieces
    can be visited, otherwise the largest Jacobian met and the least of three upper bounds."""
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.lipschitz import lipschitz_interval
    from ntkscope.report.files import to_json, write_all
    from ntkscope.report.terminal import intervals

    network, start = about.network(), about.start
    model = network.sample(about.seed)
    layers = [about.layer] if about.layer else range(start + 1, network.depth + 1)
    search = {"starts": about.starts, "steps": about.steps, "seed": about.seed}
    found = []
    with ProgressBar() as bar:
        for done, k in enumerate(layers):
            bar(f"layer {k}", done / len(layers))
            found.append(lipschitz_interval(model, k, start=start, **search))
    record: dict[str, Any] = {
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
        say(str(network))
        draw(intervals(record["intervals"]))


app = options.command(
    run,
    "ntkscope lipschitz --widths 5,20,20,1",
    "ntkscope lipschitz --widths 64,512,512,1 --layer 2 --json",
    folder=None,
)
