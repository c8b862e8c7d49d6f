"""``ntkscope inspect``: the main job."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run() -> None:
    """Measure a network's NTK on data: λ_min with its error, the layers, the bounds."""
