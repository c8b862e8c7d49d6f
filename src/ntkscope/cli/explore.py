"""``ntkscope explore``: the page on which λ_min follows the sliders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options
from ntkscope.cli.examples import examples
from ntkscope.cli.printing import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=examples("ntkscope explore --out explorer.html"))
def run(
    out: Annotated[Path, options.out("The page to write.", "FILE.html")] = Path("explorer.html"),
    json: options.Json = False,
) -> None:
    """Write one offline page: λ_min, its bounds and spectrum as the network and data change."""
    from ntkscope._base.files import whole

    options.try_out(out, folder=False)
    with options.writing(out), whole(out) as file:
        from ntkscope.explorer.explore import explore

        file.write(explore().html.encode())
    if json:
        from ntkscope.report.files import to_json

        typer.echo(to_json({"written": out}), nl=False)
    else:
        say(f"Written to {out}")
