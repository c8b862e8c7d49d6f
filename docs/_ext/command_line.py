"""A fence {commands}: every command of the command line with its arguments, options and defaults."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import typer

from ntkscope.cli.main import COMMANDS

FENCE = "```{commands}\n```"


def listing() -> str:
    """The commands in Markdown."""
    return "\n".join(line for name in COMMANDS for line in _command(name))


def _command(name: str) -> list[str]:
    command = typer.main.get_command(importlib.import_module(COMMANDS[name][0]).app)
    lines = [f"## ntkscope {name}", "", *_text(command)]
    for sub in getattr(command, "commands", {}).values():
        lines += [f"### ntkscope {name} {sub.name}", "", *_text(sub)]
    return lines


def _text(command: Any) -> list[str]:
    help = inspect.cleandoc(command.help or "").replace("\b\n", "")
    rows = [_row(p) for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    head = ["| argument or option | default | what it is |", "|---|---|---|"] if rows else []
    return [_plain(help), "", *head, *rows, ""]


def _row(parameter: Any) -> str:
    optional = parameter.param_type_name == "option"
    name = (
        ", ".join((*parameter.opts, *parameter.secondary_opts))
        if optional
        else (parameter.name or "").upper()
    )
    default = parameter.default
    unset = default in (None, False, (), []) or callable(default) or "UNSET" in repr(default)
    shown = "required" if parameter.required else "" if unset else f"`{default}`"
    return f"| `{name}` | {shown} | {_plain(getattr(parameter, 'help', '') or '')} |".replace(
        "\n", " "
    )


def _plain(text: str) -> str:
    """Help is plain text: nothing of it is Markdown."""
    return re.sub(r"([\\*_|<\[\]`])", r"\\\1", text)


def _read(_app: Any, _name: str, source: list[str]) -> None:
    if FENCE in source[0]:
        source[0] = source[0].replace(FENCE, listing())


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
