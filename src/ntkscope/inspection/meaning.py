"""What λ_min means: stable step sizes, steps needed, memorization, the weakest samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ntkscope.data.summary import DataSummary
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.rounding import down_to, up_to


@dataclass(frozen=True)
class Training:
    """Full-batch gradient descent on the linearised network, in the worst case over the labels.

    Step sizes are for ½‖F − Y‖²; ``*_mse`` for torch's MSELoss (the mean over N samples and C
    outputs), whose gradient is 2/(N·C) times as large. ``largest_stable_step`` is 2 over the upper
    end of λ_max: below it gradient descent is stable for certain, and the limit 2/λ_max is at most
    ``largest_stable_step_error`` above it. ``best_step`` is 2/(λ_max + λ_min), within
    ``best_step_error``; the same of ``*_mse`` and ``*_mse_error``. ``steps[rate][factor]`` counts steps that divide the loss by 10³ or 10⁶ at
    step 1/λ_max or at the best fixed step: an interval (few, many) from the intervals of λ_min and
    λ_max, ``None`` where λ_min cannot be told from zero. ``rows``, ``smallest``, ``largest``: N·C, and the
    ends of the kernel of all pairs of outputs as plain values, which these follow from; ``smallest`` is None
    where it was not computed.
    """

    largest_stable_step: float
    largest_stable_step_error: float
    largest_stable_step_mse: float
    largest_stable_step_mse_error: float
    best_step: float
    best_step_error: float
    best_step_mse: float
    best_step_mse_error: float
    steps: dict[str, dict[str, tuple[float, float] | None]]
    rows: int
    smallest: dict[str, Any] | None
    largest: dict[str, Any]


def training(
    smallest: Eigenvalue | None, largest: Eigenvalue, rows: int, mean: float = math.inf
) -> Training:
    """The consequences of λ_min and λ_max for gradient descent.

    Both are those of the kernel of all pairs of outputs; ``rows``: N·C, which MSELoss divides by;
    ``mean``: a bound on λ_min where it was not computed.
    """
    low, high = (
        max(0.0, end)
        for end in (
            (smallest.lower, smallest.upper) if smallest else (0.0, min(mean, largest.upper))
        )
    )
    ends: dict[str, Any] = {
        "rows": rows,
        "smallest": None if smallest is None else smallest.to_dict(),
        "largest": largest.to_dict(),
    }
    if largest.value <= 0.0:  # a kernel of zeros: nothing moves, whatever the step
        none: dict[str, tuple[float, float] | None] = {"1e+03": None, "1e+06": None}
        rates = {"1/λ_max": none, "2/(λ_max + λ_min)": none}
        return Training(*(math.inf, 0.0) * 4, rates, **ends)
    limit = up_to(2.0 / largest.lower) if largest.lower > 0 else math.inf
    best = 2.0 / (largest.value + (max(0.0, smallest.value) if smallest else 0.0))
    shortest = down_to(2.0 / up_to(largest.upper + high))
    longest = up_to(2.0 / down_to(largest.lower + low)) if largest.lower > 0 else math.inf
    to_mse = rows / 2.0
    steps: dict[str, dict[str, tuple[float, float] | None]] = {}
    for rate in ("1/λ_max", "2/(λ_max + λ_min)"):
        steps[rate] = {}
        for factor in (1e3, 1e6):
            few = _steps(rate, high, max(largest.lower, high), factor)
            many = _steps(rate, low, largest.upper, factor)
            steps[rate][f"{factor:.0e}"] = None if math.isinf(many) else (few, many)
    stable = down_to(2.0 / largest.upper), limit
    return Training(
        *_from_below(*stable), *_from_below(*_scaled(*stable, to_mse)),
        best, _reach(best, shortest, longest),
        best * to_mse, _reach(best * to_mse, *_scaled(shortest, longest, to_mse)), steps, **ends,
    )  # fmt: skip


def _scaled(low: float, high: float, factor: float) -> tuple[float, float]:
    return down_to(low * factor), up_to(high * factor)


def _from_below(low: float, high: float) -> tuple[float, float]:
    """The safe end of an interval, and how far it may lie below the truth."""
    return low, up_to(high - low)


def _reach(value: float, low: float, high: float) -> float:
    return up_to(max(value - low, high - value))


def _steps(rate: str, least: float, largest: float, factor: float) -> float:
    """Steps t with (contraction of the residual)^{2t} = 1/factor."""
    if least <= 0:
        return math.inf
    ratio = min(1.0, least / largest)
    contraction = 1.0 - ratio if rate == "1/λ_max" else (1.0 - ratio) / (1.0 + ratio)
    if contraction <= 0:
        return 1.0
    log = math.log1p(-ratio) - (0.0 if rate == "1/λ_max" else math.log1p(ratio))
    return max(1.0, float(math.ceil(-0.5 * math.log(factor) / log)))


@dataclass(frozen=True)
class Memorization:
    """Whether any N labels can be fitted near this point: True, False, or None for unknown."""

    possible: bool | None
    reason: str


def memorization(
    smallest: Eigenvalue | None,
    rows: int,
    n_parameters: int | float,
    data: DataSummary | None,
    fully_connected: bool,
    n_outputs: int = 1,
) -> Memorization:
    """From λ_min of the N·C ``rows`` of the Jacobian, None where it was not computed.

    A sampled MLP with a full-rank Jacobian has a wider one that memorizes any labels (Nguyen et
    al. 2021, Corollary 4.2).
    """
    if rows > n_parameters:
        return Memorization(
            False,
            f"{'N' if n_outputs == 1 else 'N·C'} = {rows} exceeds the {int(n_parameters)} parameters: the "
            "Jacobian has no full rank.",
        )
    if data is not None and data.duplicate_rows and data.duplicate_example is not None:
        i, j = data.duplicate_example
        return Memorization(
            False, f"rows {i} and {j} are equal: different labels on them cannot be fitted."
        )
    if smallest is None:
        return Memorization(
            None,
            f'λ_min of reduce="full" decides for all outputs together, and was not computed for its '
            f"{rows} rows; the table of outputs says it for each alone.",
        )
    if smallest.lower <= 0:
        return Memorization(
            None,
            "λ_min cannot be told from zero at this precision, so full rank is not established.",
        )
    if fully_connected:
        return Memorization(
            True,
            "λ_min > 0 is certain, so the Jacobian has full row rank and a network of the same depth "
            "with doubled hidden widths fits any labels (Nguyen et al. 2021, Corollary 4.2).",
        )
    return Memorization(
        True, "λ_min > 0 is certain: the model linearised here fits any labels exactly."
    )


@dataclass(frozen=True)
class Weakest:
    """The samples that the eigenvector of λ_min sits on, by their share v_i² of it.

    ``pair_share`` is the share of the first two rows; ``pair_angle`` is set where those two are
    the closest pair of the data.
    """

    rows: list[int]
    shares: list[float]
    participation: float
    pair_share: float
    pair_angle: float | None


def weakest(vector: Tensor, data: DataSummary | None, count: int = 8) -> Weakest:
    """``participation`` = 1/Σ v_i⁴ is the number of samples that the vector spreads over."""
    shares = (vector / torch.linalg.vector_norm(vector)).square()
    top, rows = shares.topk(min(count, len(shares)))
    first = sorted(rows[:2].tolist())
    pair = None if data is None else data.nearest_pair
    closest = pair is not None and first == sorted(pair)
    return Weakest(
        rows=rows.tolist(),
        shares=top.tolist(),
        participation=float(1.0 / shares.square().sum()),
        pair_share=float(top[:2].sum()),
        pair_angle=data.nearest_angle if data is not None and closest else None,
    )
