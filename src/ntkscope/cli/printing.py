"""What commands print: lines that end at words where the terminal ends, and tables as they are."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Any

import typer

_SHELL = "ntkscope "  # such a line is a command: cut, it goes on behind a backslash


def width() -> int:
    """Columns of the terminal (``COLUMNS`` before it), 0 where there is none."""
    return shutil.get_terminal_size((0, 0)).columns


def say(text: str, err: bool = False) -> None:
    """Print lines, each cut at words to the terminal's width and indented as it begins."""
    typer.echo("\n".join(wrapped(line, width()) for line in text.splitlines()), err=err)


def wrapped(line: str, columns: int) -> str:
    """A line in as many as it needs of ``columns``; as it is where that is 0 or it fits."""
    from rich.cells import cell_len

    if not columns or cell_len(line) <= columns:
        return line
    inner = line.lstrip()
    indent = line[: len(line) - len(inner)]
    inner = re.sub(" {3,}", "  ", inner)  # a column of its own has no room
    more, end = ("    ", " \\") if inner.startswith(_SHELL) else ("  ", "")
    parts = textwrap.wrap(
        inner, columns - len(end), initial_indent=indent, subsequent_indent=indent + more,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return f"{end}\n".join(parts)


def draw(*renderables: Any) -> None:
    """Print rich's tables; text in them is never taken for markup."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    for one in renderables:
        console.print(one)
