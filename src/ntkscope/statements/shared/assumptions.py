"""Assumptions 2.1 and 2.2 on the data, which Nguyen et al. and Bombari et al. share."""

from __future__ import annotations

import math

import torch

from ntkscope.data import Distribution
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance


def require(i: Instance, out: Findings) -> None:
    """Record both assumptions as hypotheses, with their numbers where the law is known."""
    scaling(i, out)
    concentration(i, out)


def scaling(i: Instance, out: Findings) -> None:
    """Assumption 2.1: E‖x‖ = Θ(√d), E‖x‖² = Θ(d), E‖x − Ex‖² = Ω(d), with the ratios."""
    law = i.distribution
    if law is None:
        norms = torch.linalg.vector_norm(i.X, dim=1)
        centred = (i.X - i.X.mean(dim=0)).square().sum(dim=1)
        note = "of the sample; the law is not known"
        values = (float(norms.mean()), float(norms.square().mean()), float(centred.mean()))
    else:
        moments = law.moments()
        norms = torch.linalg.vector_norm(i.reference, dim=1)
        values = (float(norms.mean()), moments.norm_sq, moments.centered_norm_sq)
        note = "E‖x‖ sampled" if not moments.error else "sampled"
    names = ("E‖x‖ = Θ(√d)", "E‖x‖² = Θ(d)", "E‖x − Ex‖² = Ω(d)")
    sizes, kinds = (math.sqrt(i.d), i.d, i.d), (None, None, True)
    for name, value, size, at_least in zip(names, values, sizes, kinds, strict=True):
        out.order_of(f"Assumption 2.1: {name}", value, size, at_least=at_least, note=note)


def concentration(i: Instance, out: Findings) -> None:
    """Assumption 2.2: what is known of the law; a sample cannot test it.

    A law whose constant grows with d is shown with the constant of Var h ≤ c‖h‖²_Lip that it has.
    """
    law = i.distribution
    name, known, constant = "Assumption 2.2: Lipschitz concentration", None, poincare(law)
    note = "the law of the data is not known" if law is None else law.concentration_note
    if law is not None:
        known = law.lipschitz_concentration
        if known is None and constant is not None:
            out.order_of(name, constant, 1.0, at_least=False, note=note)
            return
    out.hypothesis(name, known, constant, note=note)


def poincare(law: Distribution | None) -> float | None:
    """A constant C with Var h(x) ≤ C‖h‖²_Lip for every Lipschitz h; None where none is known."""
    return None if law is None else law.poincare
