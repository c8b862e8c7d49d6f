"""What both figures draw: a measured curve with its spread, and under it what a law predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ntkscope.experiments.reading.drawing import COLOURS, curve

Points = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


def means(groups: Mapping[float, Sequence[float]]) -> Points:
    """x and the mean of y there."""
    return list(groups), [float(np.mean(v)) for v in groups.values()]


def with_law(
    ax: Any, measured: dict[float, list[float]], predicted: Points, label: str, index: int,
    colour: str | None = None, **look: Any,
) -> None:  # fmt: skip
    """The measured curve, and the predicted one dashed, in its colour unless another is given."""
    curve(ax, measured, label, index, **look)
    ax.plot(*predicted, "--", color=colour or COLOURS[index], linewidth=1.0)
