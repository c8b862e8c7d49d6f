"""The predicted λ_min, dashed, over the points of a figure that measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope.experiments.reading.drawing import COLOURS
from ntkscope.experiments.reading.table import Table
from ntkscope.networks.network import Network
from ntkscope.prediction.predict import predict_smallest_eigenvalue

_POINTS = 10  # on one curve: enough for a smooth line, and for a drawing in seconds


@dataclass(frozen=True)
class Case:
    """What is predicted at a point of a figure, and the unit that its axis divides λ_min by."""

    network: Network
    n_samples: int
    data: str
    kernel: str = "empirical"
    unit: float = 1.0


def draw_predicted(
    ax: Any,
    table: Table,
    x: str,
    by: Sequence[str],
    case: Callable[[Mapping[str, Any]], Case],
    first: int = 0,
) -> None:
    """A dashed curve for each group of ``by``, in the colours of ``drawing.curves``.

    Where the predictor refuses there is no curve; a note below the axis gives its reason.
    ``first`` is the colour of the first group.
    """
    refused: list[str] = []
    drawn = False
    for index, (_, part) in enumerate(table.groups(*by)):
        at = {float(record[x]): record for record in part.records}
        every = sorted(at)
        chosen = np.unique(np.linspace(0, len(every) - 1, _POINTS).astype(int))
        xs, values = [every[i] for i in chosen], []
        for place in xs:
            value, reason = _predict(case(at[place]))
            values.append(value)
            if reason and reason not in refused:
                refused.append(reason)
        known = np.isfinite(values)
        if known.any():
            ax.plot(
                xs, values, color=COLOURS[(first + index) % len(COLOURS)], linewidth=1.1,
                linestyle=(0, (4, 2)), label=None if drawn else "predicted", zorder=3,
            )  # fmt: skip
            drawn = True
    if refused:
        extent = "in part" if drawn else "here"
        ax.annotate(
            f"no prediction {extent}: {_short(refused)}", (0.0, -0.17),
            xycoords="axes fraction", fontsize=7, color="#4d4d4d", va="top", wrap=True,
        )  # fmt: skip
    ax.legend(frameon=False, fontsize="small")


def _predict(case: Case) -> tuple[float, str]:
    try:
        found = predict_smallest_eigenvalue(
            case.network, case.n_samples, data=case.data, kernel=case.kernel
        )
    except ValueError as error:
        return float("nan"), str(error).removeprefix("no finite-width prediction: ")
    if not found.reliable:
        return float("nan"), f"not reliable where {found.regime} decides"
    return found.value / case.unit, ""


def _short(reasons: list[str]) -> str:
    """Reasons that differ only in the value they got are one."""
    causes = (part.split(", got ")[0] for reason in reasons for part in reason.split("; "))
    return "; ".join(dict.fromkeys(causes))
