"""``ntkscope explore``: the page on which λ_min follows the sliders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ntkscope.cli import options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("explorer.html"),
) -> None:
    """Write one offline page: λ_min, its bounds and spectrum as the network and data change."""
    from ntkscope._base.files import whole

    if out.is_dir():
        raise ValueError(
            f"--out names the page, got the folder {out}; give {out / 'explorer.html'}"
        )
    with options.writing(out), whole(out) as file:
        from ntkscope.explorer.explore import explore

        file.write(explore().html.encode())
    typer.echo(f"Written to {out}")
