"""The pages under docs/ as readers see them; that their examples run is pytest's --doctest-glob."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *TEXTS]
LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def prose(page):
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """A heading's name in a link, as GitHub and MyST make it."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@every_page
def test_every_example_stands_in_a_fence(page):
    fenced, bare = False, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith(">>> ") and not fenced:
            bare.append(number)
    assert bare == []
    assert not fenced


@every_page
def test_every_link_leads_somewhere(page):
    dead = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@every_page
def test_no_index_is_read_as_emphasis(page):
    """An underscore after a bracket or a prime, ``‖D‖_F``, begins italics where another can end them."""
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    parts = [part for block in reader.parse(page.read_text()) for part in block.children or ()]
    assert not [part for part in parts if part.type == "em_open" and part.markup == "_"]
