"""A fence {explorer}: a link to the page that `ntkscope explore` writes, where the command exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ntkscope.cli.main import COMMANDS

NAME = "explorer.html"
EXISTS = "explore" in COMMANDS
FENCE = "```{explorer}\n```"
LINK = f"The <a href='{NAME}'>explorer</a> shows λ_min while you change depth, width, N, d and activation."


def _write(app: Any, failed: Exception | None) -> None:
    if EXISTS and failed is None and app.builder.format == "html":
        page = Path(app.outdir) / NAME
        command = [sys.executable, "-m", "ntkscope", "explore", "--out", str(page)]
        subprocess.run(command, check=True, env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def _read(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = source[0].replace(FENCE, LINK if EXISTS else "")


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _read)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True}
