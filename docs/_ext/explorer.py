"""The explorer, a page that `ntkscope explore` writes, beside the others of the site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ntkscope.cli.main import COMMANDS

NAME = "explorer.html"
EXISTS = "explore" in COMMANDS


def _write(app: Any, failed: Exception | None) -> None:
    if EXISTS and failed is None and app.builder.format == "html":
        page = Path(app.outdir) / NAME
        command = [sys.executable, "-m", "ntkscope", "explore", "--out", str(page)]
        subprocess.run(command, check=True, env=_environment())


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def setup(app: Any) -> dict[str, bool]:
    if EXISTS:
        app.tags.add("explorer")
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True}
