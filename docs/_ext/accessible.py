"""What Sphinx and furo leave out for those who read by keyboard or by a screen reader."""

from __future__ import annotations

import re
from typing import Any

# what scrolls sideways can be reached by the keyboard
_SCROLLING = re.compile(r'<pre>|<div class="table-wrapper')
_SIGNATURE = re.compile(r'<dt class="sig.*?</dt>', re.DOTALL)


def accessible(body: str) -> str:
    """The page's content with focus on what scrolls, and no list inside a term."""
    body = _SCROLLING.sub(lambda m: re.sub(r"^<(\w+)", r'<\1 tabindex="0"', m[0]), body)
    return _SIGNATURE.sub(lambda m: _lines(m[0]), body)


def _lines(signature: str) -> str:
    """Parameters on lines of their own: a list without terms, in Sphinx."""
    for old, new in (("dl", "sig-lines"), ("dd", "sig-line")):
        signature = signature.replace(f"<{old}>", f'<span class="{new}">').replace(
            f"</{old}>", "</span>"
        )
    return signature


def _page(_app: Any, _name: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    if "body" in context:
        context["body"] = accessible(context["body"])
    if "furo_navigation_tree" in context:
        tree = context["furo_navigation_tree"]
        context["furo_navigation_tree"] = tree.replace(
            'role="heading"', 'role="heading" aria-level="2"'
        )


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", _page, priority=900)  # behind furo's own
    return {"parallel_read_safe": True}
