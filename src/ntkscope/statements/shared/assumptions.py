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
        holds = None
    else:
        moments = law.moments()
        norms = torch.linalg.vector_norm(i.reference, dim=1)
        values = (float(norms.mean()), moments.norm_sq, moments.centered_norm_sq)
        holds, note = True, "E‖x‖ sampled" if not moments.error else "sampled"
    names = ("E‖x‖ = Θ(√d)", "E‖x‖² = Θ(d)", "E‖x − Ex‖² = Ω(d)")
    for name, value, size in zip(names, values, (math.sqrt(i.d), i.d, i.d), strict=True):
        out.hypothesis(f"Assumption 2.1: {name}", holds, value, size, note)


def concentration(i: Instance, out: Findings) -> None:
    """Assumption 2.2: what is known of the law; a sample cannot test it."""
    law = i.distribution
    known = None if law is None else law.lipschitz_concentration
    note = "the law of the data is not known" if law is None else law.concentration_note
    out.hypothesis("Assumption 2.2: Lipschitz concentration", known, note=note)


def poincare(law: Distribution | None) -> float | None:
    """A constant C with Var h(x) ≤ C‖h‖²_Lip for every Lipschitz h; None where none is known."""
    return None if law is None else law.poincare
