"""Values that the shell completes: what is registered, read when a completion is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

Completer = Callable[[str], list[str]]


def _among(names: Callable[[], Iterable[str]]) -> Completer:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def of(*words: str) -> Completer:
    """Fixed words."""
    return _among(lambda: words)


def _activations() -> Iterable[str]:
    from ntkscope.activations.registry import names

    return names()


def _initializations() -> Iterable[str]:
    from ntkscope.networks.initialization import names

    return names()


def _data() -> Iterable[str]:
    from ntkscope.data.loaders import REAL_DATA
    from ntkscope.data.registry import names

    return (*REAL_DATA, *(f"{name}:" for name in names()))


def _laws() -> Iterable[str]:
    from ntkscope.data.registry import names

    return (*names(), "norms:")


def _written(pattern: str) -> list[tuple[str, str]]:
    """(paper, what the pattern finds in the paper's files): importing them would take seconds."""
    home = Path(__file__).parent.parent / "papers"
    files = sorted(home.glob("*/**/*.py"))
    return [
        (file.relative_to(home).parts[0], found)
        for file in files
        for found in re.findall(pattern, file.read_text(encoding="utf-8"))
    ]


def _papers() -> Iterable[str]:
    return dict.fromkeys(paper for paper, _ in _written(r"\nPAPER = "))


def _statements() -> Iterable[str]:
    return [f"{paper}.{number}" for paper, number in _written(r'\.statement\(\s*"([^"]+)"')]


def _figures() -> Iterable[str]:
    return [name for _, name in _written(r'FIGURE = Figure\(\s*(?:id=)?"([^"]+)"')]


activations, initializations = _among(_activations), _among(_initializations)
data, laws = _among(_data), _among(_laws)
papers, statements, figures = _among(_papers), _among(_statements), _among(_figures)
