"""Real indices, powers of ten and minus signs in running text: ``λ_min`` as λ with a lowered min.

Pages are changed as they are written, behind the search index and the anchors, which keep what was typed.
"""

from __future__ import annotations

import re
from typing import Any

from ntkscope.report.text import typeset

_PART = re.compile(
    r'<(code|pre|math|script|style|svg|option)\b.*?</\1>|<dt class="sig.*?</dt>|<[^>]*>|[^<]+',
    re.DOTALL,
)
# words joined by underscores are names of a program, and no symbols
_NAME = re.compile(r"((?<![^\W_])(?!(?:min|max|sup|inf)_)[a-z]{2,}_\w*|\b[A-Z]{4,}_\w+)")


def indexed(body: str) -> str:
    """HTML whose text outside of code has indices."""
    return _PART.sub(lambda m: m[0] if m[0].startswith("<") else _in_text(m[0]), body)


def _in_text(text: str) -> str:
    parts = _NAME.split(text)
    return "".join(part if at % 2 else typeset(part) for at, part in enumerate(parts))


def _page(_app: Any, _name: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    if doctree is None:  # the index of names, the search
        return
    for part in ("body", "toc", "furo_navigation_tree"):
        if part in context:
            context[part] = indexed(context[part])
    for neighbour in ("prev", "next"):
        if context.get(neighbour):
            page = context[neighbour]
            context[neighbour] = {**page, "title": indexed(page["title"])}


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", _page, priority=900)  # behind furo's own
    return {"parallel_read_safe": True}
