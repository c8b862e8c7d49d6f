"""``ntkscope floor``: λ_min of a limiting kernel between two bounds, for N past any factorisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ntkscope.cli import options
from ntkscope.cli.printing import say


@dataclass(frozen=True, kw_only=True)
class FloorOptions(options.Problem):
    """A network on data, and how far its power series goes."""

    degree: Annotated[
        int, typer.Option(help="Powers of the correlations told apart.", metavar="N")
    ] = 200
    measure: Annotated[
        str, typer.Option(help="Powers whose λ_min is measured, for small N: 2,3.", metavar="N,…")
    ] = ""
    device: options.Device = "cpu"


def run(about: FloorOptions, json: options.Json = False) -> None:
    """A floor of λ_min of the limiting kernel in one pass over tiles, and a pair's ceiling."""
    from ntkscope._base.devices import as_device
    from ntkscope.cli.progress import ProgressBar
    from ntkscope.report.files import to_json
    from ntkscope.spectra.streamed import streamed_bound

    powers, device = _powers(about.measure), as_device(about.device)
    net, X = about.network(), about.dataset().X.to(device)
    with ProgressBar() as bar:

        def report(now: Any) -> None:
            bar(now.stage, now.done)

        found = streamed_bound(net, X, degree=about.degree, measure=powers, progress=report)
    if json:
        typer.echo(to_json(found.to_dict()), nl=False)
    else:
        say(str(found))


app = options.command(
    run,
    "ntkscope floor --data sphere:N=20000,d=50 --widths 50,inf,1 --parameterization ntk",
)


def _powers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"--measure is a list of powers such as 2,3, got {text!r}") from None
