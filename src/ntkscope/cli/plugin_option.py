"""The option ``--plugin``, and the lines about plugins that are left out."""

from __future__ import annotations

import warnings
from typing import Annotated, Any

import typer

from ntkscope.cli.options import OUTPUT, option

Plugins = Annotated[
    list[str] | None,
    option(
        "A file, folder or module with a paper, activations or laws of your own; repeatable.",
        "--plugin", panel=OUTPUT, metavar="FILE|MODULE",
    ),
]  # fmt: skip


def load_plugins(given: list[str] | None) -> None:
    """Register the plugins asked for beside those installed.

    Of each that is left out one line on stderr says why; the rest works.
    """
    from ntkscope.statements.plugins import PluginError, PluginWarning
    from ntkscope.statements.registry import load_plugin, papers

    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, PluginWarning):
            _say(str(message))
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show  # for what is found later too, such as a plugin's figures
    papers()
    for source in given or ():
        try:
            load_plugin(source)
        except PluginError as error:
            _say(str(error))


def _say(text: str) -> None:
    typer.echo(f"ntkscope: {text}", err=True)
