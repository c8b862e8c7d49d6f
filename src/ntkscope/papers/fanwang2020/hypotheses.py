"""What Fan and Wang 2020 ask of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntkscope.statements.hypothesis import Hypothesis

if TYPE_CHECKING:
    from ntkscope.networks.network import Network


def centred(net: Network) -> Hypothesis:
    """E σ(z) = 0 at the variance of every layer."""
    from ntkscope.papers.fanwang2020.constants import CENTRED, constants_of

    try:
        means = [layer.mean for layer in constants_of(net).layers]
    except ValueError as reason:
        return Hypothesis("E σ = 0", False, note=str(reason))
    worst = max(means, key=abs)
    ok = abs(worst) <= CENTRED
    return Hypothesis(
        "E σ = 0", ok, abs(worst), 0.0, note="" if ok else f"{net.activation} is not centred"
    )


def ratios(net: Network) -> Hypothesis:
    """Finite widths."""
    return Hypothesis("finite widths", net.finite, note="" if net.finite else "got infinite widths")
