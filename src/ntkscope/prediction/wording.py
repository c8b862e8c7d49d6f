"""What a prediction says of itself: which degrees make it up, why, and where it holds."""

from __future__ import annotations

import math

import numpy as np

from ntkscope.prediction import gegenbauer
from ntkscope.prediction.model import Model
from ntkscope.prediction.resolvent import Edge
from ntkscope.prediction.result import Degree


def degrees_of(kernel: Model, edge: Edge) -> tuple[Degree, ...]:
    """The parts of S at the edge, those that make up 99% of it."""
    mean = kernel.resolvent.weights @ kernel.resolvent.c
    parts = mean / (1.0 + kernel.resolvent.gamma * edge.state.a)
    total = float(parts.sum())
    logs = kernel.expansion.log_multiplicities / math.log(10.0)
    last = len(mean) - 1
    chosen, covered = [], 0.0
    for index in np.argsort(-parts):
        if covered > 0.99 * total:
            break
        covered += float(parts[index])
        chosen.append(
            Degree(
                degree=f">{last - 1}" if index == last else str(int(index)),
                coefficient=float(mean[index]),
                log10_harmonics=None if index == last else float(logs[index]),
                share=float(parts[index]) / total,
            )
        )
    return tuple(chosen)


def reason_of(regime: str, angle: float, edge: float) -> str:
    if regime == "bulk":
        return "the lower edge of the bulk sets it; close pairs of samples do not"
    if regime == "mixed":
        return (
            f"the closest pairs of samples (about {angle:.3g} rad) pull it below the bulk's edge "
            f"{edge:.4g}"
        )
    return (
        f"the closest pair of samples decides (about {angle:.3g} rad apart); "
        f"the bulk ends at {edge:.4g}"
    )


def validity_of(kernel: Model, regime: str, rounding: float, value: float) -> str:
    parts = ["directions uniform on the sphere, rows independent"]
    if rounding >= 0.05 * value:
        parts.append(
            f"float64 cannot resolve this value: the tail of the expansion is known to {rounding:.2g}"
        )
    if not kernel.expansion.complete:
        parts.append(
            f"d = {kernel.dim} is so low that N points resolve more than "
            f"{gegenbauer.MAX_DEGREE} degrees: the bulk's edge is not resolved, the closest pair is"
        )
    if regime == "closest pair" and kernel.network.activation.smooth:
        parts.append(
            "a smooth kernel in low dimension: clusters of more than two points count, and the value "
            "may be too large by a factor of several"
        )
    elif regime == "closest pair":
        parts.append("one instance varies as much as the closest pair does: see the interval")
    homogeneous = kernel.network.activation.homogeneity == 1 and kernel.network.bias_std is None
    if not kernel.norms.equal and not homogeneous:
        parts.append("unequal norms enter to leading order: c_r(t, t′) ≈ √(c_r(t, t) c_r(t′, t′))")
    if kernel.dim < 50 and regime != "closest pair":
        parts.append("d < 50: expect several per cent")
    return "; ".join(parts)
