"""A statement of a paper over a sweep in which N, d and every hidden width grow as it asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ntkscope.engines.engine import Engine
from ntkscope.experiments.reading.claims import SweptStatement, judge
from ntkscope.experiments.running.watch import SweepProgress
from ntkscope.experiments.sweep import Sweep
from ntkscope.networks.network import Network
from ntkscope.statements.registry import find

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)


def sweep_settings(
    id: str, net: Network, source: str, n_samples: int, seeds: int = 5,
    factors: Sequence[float] = FACTORS,
) -> dict[str, Any]:  # fmt: skip
    """A sweep in which d and every hidden width grow by each factor s, and N by s^growth.

    ``growth`` is the statement's own: 1, or 2 where its regime fixes N/(n_{L-2} n_{L-1}).
    ``source`` is a distribution's name with its options but N and d, such as ``"gaussian"``.
    Raises ValueError for an unknown statement or a network that cannot be sampled.
    """
    power = find(id).growth
    if not net.finite:
        raise ValueError(f"a sweep samples its networks; {net} has infinite widths")
    hidden = [f"max(1, round({int(n)}*s))" for n in net.widths[1:-1]]
    d = f"max(1, round({net.dim}*s))"
    name, colon, options = source.partition(":")
    rest = "," + options if colon else ""
    return {
        "name": f"check-{id}",
        "measure": f"check:{id}",
        "seeds": seeds,
        "grid": {"s": [float(f) for f in factors]},
        "data": f"{name}:N={{max(2, round({n_samples}*s**{power}))}},d={{{d}}}{rest}",
        "network": {**net.to_dict(), "widths": [d, *hidden, net.n_outputs]},
    }


def check_sweep(
    id: str,
    net: Network,
    source: str,
    n_samples: int,
    folder: Path | str,
    engine: Engine | None = None,
    *,
    seeds: int = 5,
    factors: Sequence[float] = FACTORS,
    progress: Callable[[SweepProgress], None] | None = None,
) -> SweptStatement:
    """Run a statement over :func:`sweep_settings`, resuming what the folder holds."""
    sweep = Sweep(sweep_settings(id, net, source, n_samples, seeds, factors))
    sweep.run(folder, engine, progress=progress)
    return judge(id, sweep.table(folder))
