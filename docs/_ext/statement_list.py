"""A fence {statements}: every statement of the papers with its formula, from the registry."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

from ntkscope.statements.registry import papers, statements
from ntkscope.statements.statement import Statement

FENCE = "```{statements}\n```"


def listing() -> str:
    """The statements in Markdown, a paper after the other."""
    lines = []
    for paper in papers():
        own = [s for s in statements() if s.paper == paper.key]
        if own:
            count = f"{len(own)} statements. [What the program makes of them](../papers/{paper.key}.md)."
            lines += [f"## {paper.short}", "", _plain(paper.citation), "", count, ""]
            lines += [line for s in own for line in _statement(s)]
    return "\n".join(lines)


def _statement(s: Statement) -> list[str]:
    formula = f"<p class='formula' tabindex='0'>{mathml(s.latex)}</p>" if s.latex else ""
    head = f"{_plain(s.title)} ({_plain(s.source)})." if s.title else f"{_plain(s.source)}."
    return [f"### {s.id}", "", f"**{head}** {_plain(s.sentence)}", "", formula, ""]


def mathml(latex: str) -> str:
    """A formula that a browser shows by itself."""
    return re.sub(r"\s*\n\s*", " ", convert(latex, display="block"))


def _plain(text: str) -> str:
    return re.sub(r"([\\*_|\[\]`])", r"\\\1", html.escape(text, quote=False))


def _read(_app: Any, _name: str, source: list[str]) -> None:
    if FENCE in source[0]:
        source[0] = source[0].replace(FENCE, listing())


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
