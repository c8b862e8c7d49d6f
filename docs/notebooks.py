"""The tutorials as notebooks: each doctest example a code cell, the text between them markdown.

``python docs/notebooks.py`` writes out/notebooks/NAME.ipynb; ``--run`` runs each and keeps its outputs.
"""

from __future__ import annotations

import argparse
import doctest
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

TUTORIALS = Path(__file__).parent / "tutorials"
_FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
_PARSER = doctest.DocTestParser()


def convert(page: Path, target: Path) -> Any:
    """The notebook of a page; relative links are made to lead there from ``target``."""
    cells = []
    for kind, text in _parts(page.read_text()):
        if kind == "markdown":
            cells.append(v4.new_markdown_cell(_relinked(text, page.parent, target)))
        else:
            cells.append(v4.new_code_cell(text))
    for number, cell in enumerate(cells):
        cell["id"] = f"{page.stem}-{number}"  # the same page gives the same file
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """("markdown" | "code", text) in order; a fence without examples is text."""
    prose, begin = "", 0
    for fence in _FENCE.finditer(text):
        examples = _PARSER.get_examples(fence[1])
        prose += text[begin : fence.start()]
        begin = fence.end()
        if not examples:
            prose += fence[0]
            continue
        if prose.strip():
            yield "markdown", prose.strip()
        prose = ""
        yield from (("code", cell) for cell in _cells(examples))
    prose += text[begin:]
    if prose.strip():
        yield "markdown", prose.strip()


def _cells(examples: list[doctest.Example]) -> Iterator[str]:
    """A cell shows its last value alone, so each example with an output ends one."""
    lines: list[str] = []
    for example in examples:
        lines.append(example.source.rstrip("\n"))
        if example.want:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def _relinked(text: str, source: Path, target: Path) -> str:
    def moved(link: re.Match[str]) -> str:
        return f"]({os.path.relpath(source / link[1], target)})"

    return _LINK.sub(moved, text)


def run(notebook: Any, folder: Path, timeout: int = 600) -> Any:
    """The notebook with its outputs, run in ``folder``.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def main(arguments: list[str]) -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/notebooks"))
    parser.add_argument("--run", action="store_true", help="run each, and keep its outputs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for page in sorted(TUTORIALS.glob("*.md")):
        notebook = convert(page, given.out)
        if given.run:
            notebook = run(notebook, given.out)
        nbformat.validate(notebook)
        file = given.out / f"{page.stem}.ipynb"
        file.write_text(nbformat.writes(notebook) + "\n")
        print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
