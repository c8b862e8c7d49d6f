"""BibTeX entries: fields escaped, capitals kept, a given entry read as far as its braces."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ntkscope._base.version import __version__
from ntkscope.report.latex import tex

_FORMULA = re.compile(r"(?<!\\)(\$[^$]*\$)")
_CAPITALS = re.compile(r"(?<!\\)\b[A-Za-z]*[A-Z][A-Za-z]*")


def entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    """``@kind{key, …}`` of plain texts; empty fields are left out."""
    told = [(name, value) for name, value in fields.items() if value]
    lines = [f"  {name} = {{{_field(name, value)}}}," for name, value in told]
    plain = re.sub(r"[^A-Za-z0-9:._-]", "-", key)
    return "\n".join([f"@{kind}{{{plain},", *lines, "}"])


def own() -> str:
    """The entry of this version of ntkscope."""
    title = "ntkscope: the spectrum of the neural tangent kernel, measured, bounded and predicted"
    fields = {
        "title": title,
        "author": "{The ntkscope authors}",
        "howpublished": "Python package",
        "note": f"Version {__version__}",
    }
    return entry("misc", "ntkscope", fields)


def _field(name: str, value: str) -> str:
    if name == "author" and value.startswith("{"):  # a body, and no first and last name
        return f"{{{_braced(value[1:-1])}}}"
    if name != "title":
        return _braced(value)
    # styles write titles in small letters, but for what stands in braces; a formula is left alone
    parts = _FORMULA.split(_braced(value))
    return "".join(
        p if k % 2 else _CAPITALS.sub(lambda word: f"{{{word[0]}}}", p) for k, p in enumerate(parts)
    )


def _braced(value: str) -> str:
    """The text as LaTeX by names of braces: BibTeX counts escaped ones too."""
    named = {r"\{": (r"\textbraceleft{}", r"\lbrace "), r"\}": (r"\textbraceright{}", r"\rbrace ")}
    parts = _FORMULA.split(tex(value))
    return "".join(
        re.sub(r"\\[{}]", lambda brace: named[brace[0]][k % 2], p)  # noqa: B023
        for k, p in enumerate(parts)
    )


def read(text: str) -> str:
    """An entry as it was given, its ends trimmed.

    Raises ValueError for what is no entry, or whose braces do not close.
    """
    made = text.strip()
    if not re.match(r"@\w+\s*\{\s*[^\s,{}]+\s*,", made):
        raise ValueError(f"a BibTeX entry begins with @kind{{key, got {made[:40]!r}")
    depth = 0
    for place, c in enumerate(made):
        depth += (c == "{") - (c == "}")
        if depth == 0 and c == "}" and place < len(made) - 1:
            raise ValueError(f"one BibTeX entry is expected, got more: {made[place + 1 :][:40]!r}")
    if depth != 0 or not made.endswith("}"):
        raise ValueError(f"the braces of the BibTeX entry do not close: {made[-40:]!r}")
    return made
