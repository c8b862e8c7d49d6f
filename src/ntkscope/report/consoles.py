"""Rich tables as plain text, the same in a terminal, a pipe and a notebook."""

from __future__ import annotations

import io

from ntkscope._base.extras import needs

with needs("report"):
    from rich.console import Console, RenderableType


def printed(*parts: RenderableType, width: int = 100) -> str:
    """Lines of at most ``width`` letters without colours; a string is printed as it is."""
    file = io.StringIO()
    # a notebook would take the output away from the file
    console = Console(
        file=file, width=width, color_system=None, force_jupyter=False,
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    for part in parts:
        console.print(part)
    return file.getvalue().rstrip()
