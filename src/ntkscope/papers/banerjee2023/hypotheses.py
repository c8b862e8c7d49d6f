"""Banerjee et al. 2023: what they ask of the network, and their σ_0², c, ν_0²."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ntkscope._base.specs import parse_spec
from ntkscope.statements.hypothesis import Hypothesis

if TYPE_CHECKING:
    from ntkscope.networks.network import Network


def smooth_activation(net: Network) -> Hypothesis:
    """Assumption 1: |φ′| ≤ 1 and |φ″| ≤ β_φ."""
    phi = net.activation
    M, bend = phi.lipschitz, phi.lipschitz_derivative
    name = "Assumption 1: |φ′| ≤ 1, |φ″| ≤ β_φ"
    if M is None or bend is None:
        return Hypothesis(name, None, note=f"the constants of {phi} are not known")
    note = f"sup |φ″| = {bend:.4g}" if math.isfinite(bend) else f"{phi}: φ′ jumps"
    return Hypothesis(name, M <= 1.0 and math.isfinite(bend), M, 1.0, note=note)


def zero_at_zero(net: Network) -> Hypothesis:
    """φ(0) = 0."""
    value = net.activation.at_zero
    return Hypothesis("φ(0) = 0", value == 0.0, value, 0.0)


def equal_widths(net: Network) -> Hypothesis:
    """m_1 = … = m_L."""
    hidden = net.widths[1:-1]
    note = "" if len(set(hidden)) == 1 else f"got {list(hidden)}"
    return Hypothesis("hidden layers of one width", len(set(hidden)) == 1, note=note)


def initialized(net: Network) -> Hypothesis:
    """ν_l² = σ_0²/c_{φ,σ0} in every hidden layer."""
    name = "W^(l) ~ N(0, ν_0²), ν_0² = σ_0²/c_(φ,σ0)"
    try:
        s = Setting(net)
        measured = s.nus_sq
    except ValueError as reason:
        return Hypothesis(name, None, note=str(reason).partition(";")[0])
    ok = all(math.isclose(m, s.nu_sq, rel_tol=1e-9) for m in measured) and net.weights == "gaussian"
    return Hypothesis(name, ok, measured[0], s.nu_sq, note="" if ok else f"σ_0² = {s.sigma_sq:g}")


@dataclass(frozen=True)
class Setting:
    """σ_0², c_{φ,σ0}, ν_0² of a network; σ_0² = 1 where its initialization names none."""

    net: Network

    @property
    def sigma_sq(self) -> float:
        init = self.net.init
        if isinstance(init, str) and parse_spec(init).name == "banerjee2023":
            return float(parse_spec(init).options.get("sigma0_sq", 1.0))
        return 1.0

    @cached_property
    def c(self) -> float:
        """c_{φ,σ0} = E φ(z)², z ~ N(0, σ_0²)."""
        from ntkscope.activations.expectation import second_moment

        return second_moment(self.net.activation, self.sigma_sq)

    @cached_property
    def nu_sq(self) -> float:
        """ν_0² = σ_0²/c."""
        from ntkscope.networks.initialization import nu0

        return nu0(self.net.activation, self.sigma_sq) ** 2

    @property
    def nus_sq(self) -> list[float]:
        """ν_1², …, ν_(L-1)² of the network as it is: variance of W^(l) with 1/√m taken out."""
        pairs = zip(self.net.betas, self.net.scales, self.net.widths, strict=False)
        return [(b * s) ** 2 * n for b, s, n in list(pairs)[:-1]]

    def h(self, hidden: int, first: int) -> float:
        """h_C = Σ_{i=first}^{hidden} ν_0^{2i}: from 1 in Remark 4.1, from 0 in Lemma 4.2."""
        return sum(self.nu_sq**k for k in range(first, hidden + 1))

    def norm_condition(self, hidden: int, scale: float = 1.0) -> float:
        """max(8h²/c², 4h/c) with h = ``scale`` h_C from i = 0: what Lemma 4.2 holds against √m."""
        h = scale * self.h(hidden, 0)
        return max(8 * h**2 / self.c**2, 4 * h / self.c)
