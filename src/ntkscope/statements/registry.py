"""The papers there are: folders of ntkscope.papers, entry points, plugins; their statements by id.

An id is ``paper.number``, such as ``nguyen2021.theorem-4.1``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING

from ntkscope._base.rollback import restorable
from ntkscope._base.specs import unknown
from ntkscope.statements import plugins
from ntkscope.statements.paper import Paper
from ntkscope.statements.plugins import PluginError, PluginWarning

if TYPE_CHECKING:
    from ntkscope.statements.statement import Statement

PACKAGE = "ntkscope.papers"
GROUP = "ntkscope.papers"  # of entry points, each naming a module with a PAPER


@dataclass(frozen=True)
class Home:
    """A paper and the module that holds it. own: it came with this package."""

    paper: Paper
    module: ModuleType
    own: bool

    def read(self) -> None:
        """Import the modules with its statements and confirmers; a second time costs nothing."""
        for part in self.paper.parts:
            importlib.import_module(f"{self.module.__name__}.{part}")

    def with_figures(self) -> Iterator[ModuleType]:
        """The modules that may hold a figure: its own, and those that ``figures`` names."""
        yield self.module
        for part in self.paper.figures:
            yield importlib.import_module(f"{self.module.__name__}.{part}")


_HOMES: dict[str, Home] = restorable({})
_searched = False


def homes() -> tuple[Home, ...]:
    """Every paper with its module, in the papers' order."""
    _search()
    return tuple(sorted(_HOMES.values(), key=lambda h: (h.paper.order, h.paper.key)))


def papers() -> tuple[Paper, ...]:
    """The papers, in their order."""
    return tuple(home.paper for home in homes())


def statements(paper: str | None = None) -> tuple[Statement, ...]:
    """All statements, in the papers' order; of one paper if named.

    Parameters
    ----------
    paper: a key such as ``"nguyen2021"``; all papers by default.

    Returns
    -------
    Statements in the order of the papers.

    Raises ValueError for an unknown paper, suggesting the nearest.
    """
    wanted = [home for home in homes() if paper in (None, home.paper.key)]
    for home in wanted:
        home.read()
    found = tuple(s for home in wanted for s in home.paper.statements.values())
    if paper is not None and not found:
        known = {s.paper: None for s in statements()}
        raise ValueError(unknown("paper", paper, tuple(known)))
    return found


def find(id: str) -> Statement:
    """The statement of an id. Raises ValueError for an unknown one, suggesting the nearest."""
    paper, _, number = id.partition(".")
    for home in homes():
        if home.paper.key == paper:
            home.read()  # the other papers need not be
            if number in home.paper.statements:
                return home.paper.statements[number]
    ids = {s.id: s for s in statements()}
    if id not in ids:
        # a paper's own number without the paper means it in each paper that has it
        keys = [p.key for p in papers()]
        near = [f"{p}.{id}" for p in keys if f"{p}.{id}" in ids]
        if not near:
            of = next((p for p in keys if id.startswith(p)), "")
            near = difflib.get_close_matches(id, [k for k in ids if of in k], n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"unknown statement {id!r}{hint} (ntkscope check --list shows all)")
    return ids[id]


def paper_of(statement: Statement) -> Paper:
    """The paper that a statement stands in."""
    return _HOMES[statement.paper].paper


def load_plugin(source: str | os.PathLike[str] | ModuleType) -> ModuleType:
    """Import a file, a folder or a module, and register the paper that it holds, if it holds one.

    The file may also register activations, initializations or laws of data. Processes that start
    later load it as well (environment variable NTKSCOPE_PLUGINS). A second time does nothing.

    Parameters
    ----------
    source: the path of a ``.py`` file or of a package's folder, a module's dotted name, or a module.

    Returns
    -------
    The module.

    Raises
    ------
    PluginError, a ValueError: it cannot be imported, raises, or takes a key or an id that another has;
    nothing of it is then registered.
    """
    module = _load(source)
    plugins.hand_down(source)
    return module


def _load(source: str | os.PathLike[str] | ModuleType) -> ModuleType:
    statements()  # what the plugin imports of ours must not count as the plugin's
    return plugins.load(source, _register)


def _register(module: ModuleType) -> None:
    """Add the PAPER of a plugin's module with all its statements."""
    again = any(home.module is module for home in _HOMES.values())
    if hasattr(module, "PAPER") and not again:
        _add(module, own=False).read()


def _add(module: ModuleType, own: bool) -> Home:
    paper = module.PAPER
    if not isinstance(paper, Paper):
        raise TypeError(f"PAPER must be a Paper, got {type(paper).__name__}")
    if paper.key in _HOMES:
        raise ValueError(f"a paper with the key {paper.key!r} is there already")
    home = _HOMES[paper.key] = Home(paper, module, own)
    return home


def _search() -> None:
    """Find our own papers, then those of installed distributions and of the parent process."""
    global _searched
    if _searched:
        return
    _searched = True
    package = importlib.import_module(PACKAGE)
    for found in pkgutil.iter_modules(package.__path__):
        _add(importlib.import_module(f"{PACKAGE}.{found.name}"), own=True)
    installed = [point.module for point in metadata.entry_points(group=GROUP)]
    for source in (*installed, *plugins.handed_down()):
        try:
            _load(source)
        except PluginError as error:
            warnings.warn(str(error), PluginWarning, stacklevel=2)
