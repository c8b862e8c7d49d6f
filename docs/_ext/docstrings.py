"""Docstrings as this project writes them, put into the form that Sphinx reads.

A section's entries are ``name: text`` with indented continuations. All else is plain text with
``literals``, roles and literal blocks; a bar or an asterisk in it is mathematics, and no markup.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Warns")
_NAMES = r"\w+(?:, \w+)*"
_ENTRY = re.compile(rf"^({_NAMES})(?:: (.*))?$")  # numpydoc's own form has the text below the name
_INLINE = re.compile(rf"(?<=[.;]) ({_NAMES}): ")
_KEEP = re.compile(r"(``.+?``|:[\w:]+:`[^`]+`)")


def escaped(text: str) -> str:
    """Plain text in which only literals and roles are markup."""
    parts = _KEEP.split(text)
    parts[::2] = [re.sub(r"([\\*|`]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def blocks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """(section, its lines); the text before the first section has the name ""."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        body = found[-1][1]
        if body and len(line) > 2 and set(line) == {"-"}:
            found.append((body.pop().strip(), []))
        elif line.startswith("Raises ") and (not body or not body[-1]):
            found.append(("Raises", [line.removeprefix("Raises ")]))
        elif found[-1][0] and body and not body[-1] and line and not _entry(found[-1][0], line):
            found.append(("", [line]))  # a paragraph after a section is text again
        else:
            body.append(line)
    return found


def _entry(section: str, line: str) -> bool:
    return (
        line.startswith(" ")
        or section.startswith(("Returns", "Raises"))
        or bool(_ENTRY.match(line))
    )


def entries(section: list[str]) -> dict[str, list[str]]:
    """ "name, name" → its text, of a section with entries."""
    found: dict[str, list[str]] = {}
    for line in section:
        entry = _ENTRY.match(line)
        text = line.strip() if entry is None else entry[2] or ""
        head = entry[1] if entry else next(reversed(found), None)
        if head is None:
            continue
        first, *more = _INLINE.split(text)  # "n: N. d: the dimension."
        found.setdefault(head, []).append(first)
        for name, rest in zip(more[::2], more[1::2], strict=True):
            found.setdefault(name, []).append(rest)
    return found


def names(doc: str, *sections: str) -> set[str]:
    """The names that a docstring's sections describe."""
    return {
        name.strip()
        for section, body in blocks(inspect.cleandoc(doc).splitlines())
        if section.startswith(sections)
        for entry in entries(body)
        for name in entry.split(",")
    }


def rendered(lines: list[str]) -> list[str]:
    """The docstring in reStructuredText."""
    out: list[str] = []
    for section, body in blocks(lines):
        if not section:
            out += [*_paragraphs(body), ""]
            continue
        out += [f":{escaped(section)}:", ""]
        if section.startswith(("Parameters", "Attributes")):
            for name, text in entries(body).items():
                term = ", ".join(f"``{n}``" for n in name.split(", "))
                out += [f"    {term}", *(f"        {escaped(line)}" for line in text)]
        else:
            out += [f"    {line}" for line in _paragraphs(body)]
        out.append("")
    return out


def _paragraphs(lines: list[str]) -> list[str]:
    """Text with its literal blocks left as they are."""
    out, literal = [], False
    for line in lines:
        literal = (literal and (not line or line.startswith(" "))) or line.startswith(">>> ")
        out.append(line if literal else escaped(line))
        literal = literal or line.endswith("::")
    return out


def _process(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    lines[:] = rendered(lines)


def _signature(
    _app: Any, what: str, _name: str, found: Any, _options: Any, arguments: str | None, _result: Any
) -> tuple[str, None] | None:
    """A result is made by a function and not by the reader: its constructor is left out."""
    if what == "class" and arguments and not names(found.__doc__ or "", "Parameters"):
        return "", None
    return None


def _skip(
    _app: Any, _what: str, _name: str, found: Any, _skips: bool, _options: Any
) -> bool | None:
    """What a class has from another library is not ours to describe."""
    home = getattr(found, "__module__", None) or "ntkscope"
    return None if home.startswith("ntkscope") else True


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
