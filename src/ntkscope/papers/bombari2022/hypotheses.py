"""Bombari et al. 2022: what they ask of the network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ntkscope._base.specs import parse_spec
from ntkscope.statements.hypothesis import Hypothesis

if TYPE_CHECKING:
    from ntkscope.networks.network import Network


def lipschitz_activation(net: Network) -> Hypothesis:
    """Assumption 2.3 as a property of the network: φ nonlinear, φ and φ′ Lipschitz."""
    phi = net.activation
    nonlinear = not phi.linear
    bounds = (phi.lipschitz, phi.lipschitz_derivative)
    known = [b for b in bounds if b is not None]
    holds: bool | None = len(known) == 2 and all(math.isfinite(b) for b in known)
    note = "" if holds else f"{phi}: a Lipschitz constant is infinite"
    if not nonlinear or phi.kinks:
        holds, note = False, f"{phi}: " + ("linear" if not nonlinear else "φ′ jumps")
    elif len(known) < 2:
        holds, note = None, f"{phi}: its constants are not known"
    return Hypothesis(
        "Assumption 2.3: φ is nonlinear, φ and φ′ are Lipschitz (M′)", holds,
        phi.lipschitz_derivative, note=note,
    )  # fmt: skip


def initialization(net: Network) -> Hypothesis:
    """β_l√n_(l-1) for l < L and β_L do not depend on the widths."""
    name = "W_l ~ N(0, β²/n_(l-1)) for l < L and W_L ~ N(0, β_L²), β free of the widths"
    if not isinstance(net.init, str):
        return Hypothesis(name, None, note="the β_l were given as numbers")
    rule = parse_spec(net.init).name
    ok = rule in ("bombari2022", "bombari2022-paired") and net.parameterization == "standard"
    note = "" if ok else (
        "β_L = √(c/n_(L-1)) shrinks with the width" if rule in ("he", "lecun") else f"got {rule}"
    )  # fmt: skip
    return Hypothesis(name, ok, note=note)
