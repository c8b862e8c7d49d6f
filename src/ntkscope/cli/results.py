"""How a command hands over what it found: files in a folder, JSON or text on stdout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from ntkscope.cli import options
from ntkscope.cli.printing import say


def deliver(
    record: Any,
    text: str,
    out: str | Path | None,
    json: bool,
    page: Callable[[], str],
    settings: Any,
    again: str,
    note: str = "",
) -> None:
    """Write report.html, result.json and settings.toml to ``out``, and print the record or the text.

    page: makes the page, where one is wanted. settings: the command's options, as a dataclass or
    plain values. again: the command that runs with them. note: what else was written there.
    """
    from ntkscope.report.files import REPORT, to_json

    if out is not None:
        write(out, page(), record, settings, again)
    if json:
        typer.echo(to_json(record), nl=False)
    else:
        say(text)
    if out is not None and not json:
        typer.echo(f"\nThe page: {Path(out) / REPORT}{note}")


def write(
    out: str | Path,
    page: str,
    record: Any,
    settings: Any,
    again: str,
    more: Mapping[str, str | bytes] | None = None,
) -> None:
    """The files of a result, and ``more`` of them by name, whole or not at all."""
    from ntkscope.report.files import results, write_all

    plain = settings if isinstance(settings, Mapping) else asdict(settings)
    with options.writing(out):
        write_all(Path(out), results(page, record, plain, again) | dict(more or {}))
