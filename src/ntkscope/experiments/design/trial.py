"""One trial: what is measured, of which network, on which data, with which seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Scalar = int | float | str

# part of every key: raise it when the same settings come to mean other numbers
FORMAT = 1


def canonical(value: Any) -> str:
    """JSON that is the same text for the same settings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Trial:
    """A measurement and a seed. ``settings`` is canonical JSON; the key follows from both.

    ``coordinates`` say where in a sweep's grid the trial stands; they name columns of its table
    and are no part of the key.
    """

    settings: str
    seed: int
    coordinates: tuple[tuple[str, Scalar], ...] = field(default=(), compare=False)

    @cached_property
    def key(self) -> str:
        """Names the trial in the store, whatever the sweep that it came from."""
        text = f"{FORMAT}\n{self.settings}\n{self.seed}"
        return "trial-" + hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def plain(self) -> dict[str, Any]:
        """The settings as plain values."""
        return dict(json.loads(self.settings))


def streams(settings: Mapping[str, Any], seed: int, *names: str) -> tuple[int, ...]:
    """Seeds of a trial's random streams (data, weights, …), 32 bits each.

    They depend on the network and the data and not on what is measured: another quantity asked
    of the same settings and seed has the same instance.
    """
    about = {key: settings[key] for key in ("network", "data", "arguments") if key in settings}
    text = canonical(about)
    return tuple(
        int.from_bytes(hashlib.sha256(f"{text}\n{seed}\n{name}".encode()).digest()[:4], "big")
        for name in names
    )


@contextmanager
def at_point(coordinates: Mapping[str, Scalar]) -> Iterator[None]:
    """Say of a ValueError or TypeError at which point of the grid it arose."""
    try:
        yield
    except (ValueError, TypeError) as error:
        where = ", ".join(f"{name}={value}" for name, value in coordinates.items())
        raise type(error)(f"at {where or 'the only point'}: {error}") from None
