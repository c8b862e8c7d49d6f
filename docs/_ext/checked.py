"""What is wrong with a built site: links that lead nowhere, and what it would load from elsewhere."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

LOADED = {"img", "script", "link", "iframe", "source", "audio", "video", "object", "embed"}
_STYLE = re.compile(r"(?:url\(|@import )\s*[\"']?(?:https?:)?//[^)\"';]*")


@dataclass
class Page(HTMLParser):
    """The names that a page gives to its places, what it links to and what it loads."""

    names: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.names |= {given[k] for k in ("id", "name") if k in given}
        target = given.get("href") or given.get("src") or given.get("data")
        # a link to another form of the page, such as rel="author", loads nothing
        if target and tag in LOADED and given.get("rel") not in ("canonical", "author"):
            self.loads.append(target)
        elif target:
            self.links.append(target)


def faults(site: Path) -> list[str]:
    """One line a fault, in the order of the pages."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    found = [fault for path, page in pages.items() for fault in _faults(path, page, pages)]
    for sheet in sorted(site.rglob("*.css")):
        loaded = _STYLE.findall(sheet.read_text())
        found += [f"{sheet.relative_to(site)} loads {what}" for what in loaded]
    return found


def _read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def _faults(path: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    found = [f"{path} loads {what}" for what in page.loads if re.match(r"(https?:)?//", what)]
    for link in (*page.links, *page.loads):
        if re.match(r"[a-z]+:|//", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        name = name.partition("?")[0]
        target = (path.parent / name).resolve() if name else path
        if not target.exists():
            found.append(f"{path} links to {link}, which is not there")
        elif anchor and target in pages and anchor not in pages[target].names:
            found.append(f"{path} links to {link}, which has no such place")
    return found


if __name__ == "__main__":
    lines = faults(Path(sys.argv[1]).resolve())
    print("\n".join(lines) or "every link leads somewhere, and nothing is loaded from elsewhere")
    sys.exit(bool(lines))
