"""How a command hands over what it found: files in a folder, JSON or text on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ntkscope.cli import options
from ntkscope.cli.printing import say


def deliver(
    record: Any, text: str, out: str | Path | None, json: bool, page: str = "", note: str = ""
) -> None:
    """Write result.json (and index.html) to ``out``, and print the record or the text.

    note: what else was written there.
    """
    from ntkscope.report.files import to_json, write_all

    if out is not None:
        files = {"result.json": to_json(record)} | ({"index.html": page} if page else {})
        with options.writing(out):
            write_all(Path(out), files)
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        say(text)
    if page and out is not None and not json:
        typer.echo(f"\nThe page: {Path(out) / 'index.html'}{note}")
