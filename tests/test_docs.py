"""The pages under docs/ as readers see them; that their examples run is pytest's --doctest-glob."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_example_stands_in_a_fence(page):
    fenced, bare = False, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif line.startswith(">>> ") and not fenced:
            bare.append(number)
    assert bare == []
    assert not fenced
