"""The one small grammar of names: ``name:key=value,key=value``.

Activations, initializations, data sets and distributions are all written this way on the command
line and in settings files, so that a reader learns the form once.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

Value = int | float | str | bool


@dataclass(frozen=True)
class Spec:
    """A parsed ``name:key=value,…``; ``positional`` holds parts without ``=``."""

    name: str
    options: dict[str, Value]
    positional: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [*self.positional, *(f"{k}={v}" for k, v in self.options.items())]
        return f"{self.name}:{','.join(parts)}" if parts else self.name


def parse_spec(text: str) -> Spec:
    """Parse ``name:key=value,…``.

    Raises ValueError for an empty name or an option given twice.
    """
    name, _, rest = text.strip().partition(":")
    if not name:
        raise ValueError(f"expected name or name:key=value,…, got {text!r}")
    options: dict[str, Value] = {}
    positional: list[str] = []
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            # `classes=0,1` reads as one option with a list: a bare part continues the last one
            if options:
                last = next(reversed(options))
                options[last] = f"{options[last]},{part}"
            else:
                positional.append(part)
            continue
        key = key.strip()
        if key in options:
            raise ValueError(f"option {key!r} is given twice in {text!r}")
        options[key] = _value(value.strip())
    return Spec(name, options, tuple(positional))


def _value(text: str) -> Value:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for a name that is not known: the nearest one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {str(name)!r}; {hint}known: {', '.join(names)}"


def matching(kind: str, pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a shell pattern matches: whole ones, or else what follows one of their dots.

    ``lora_*`` finds ``layers.0.query.lora_A`` and ``head.*`` not ``model.head.weight`` where there is a
    ``head.weight``. Raises ValueError where it matches none.
    """
    names = list(names)
    hits = fnmatch.filter(names, pattern)
    if not hits:
        hits = [n for n in names if fnmatch.fnmatchcase(n, f"*.{pattern}")]
    if not hits:
        raise ValueError(unknown(kind, pattern, names))
    return hits


def reject_unknown_options(kind: str, spec: Spec, known: Iterable[str]) -> None:
    """Raise ValueError when ``spec`` has an option that ``kind`` does not take."""
    known = tuple(known)
    for key in spec.options:
        if key not in known:
            takes = unknown("option", key, known) if known else f"it takes no options, got {key!r}"
            raise ValueError(f"{kind} {spec.name!r}: {takes}")
