"""The order in which trials run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.measures.registry import measure_of


def interleave(trials: Sequence[Trial]) -> list[Trial]:
    """Trials in an order whose every beginning spans the grid.

    Blocks of seeds one after another, and within a block the points in bit-reversed order, so
    that a sweep that is half done shows the whole curve with half of its trials. Seeds that are
    computed together stay together.
    """
    plain = {text: json.loads(text) for text in dict.fromkeys(t.settings for t in trials)}
    order = {text: _reversed_bits(i) for i, text in enumerate(plain)}
    sizes = {text: measure_of(settings).block(settings) for text, settings in plain.items()}
    return sorted(trials, key=lambda t: (t.seed // sizes[t.settings], order[t.settings], t.seed))


def _reversed_bits(index: int) -> float:
    """Van der Corput's sequence: 0, 1/2, 1/4, 3/4, …"""
    value, weight = 0.0, 0.5
    while index:
        value += weight * (index & 1)
        index, weight = index >> 1, weight / 2
    return value
