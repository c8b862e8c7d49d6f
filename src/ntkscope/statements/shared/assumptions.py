"""Assumptions 2.1 and 2.2 on the data, which Nguyen et al. and Bombari et al. share."""

from __future__ import annotations

import math

import torch

from ntkscope.data import Circle, Cube, Distribution, Gaussian, GeneratedImage, Sphere
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
    """A constant C with Var h(x) ≤ C‖h‖²_Lip for every Lipschitz h; None where none is known.

    Gaussian 1; the sphere of radius R in R^d R²/(d − 1) (its spectral gap, chords being shorter
    than arcs); a cube (side/π)², since the constant of an interval tensorises; the circle of
    radius √2: 2; a Lipschitz image of a Gaussian: its constant squared.
    """
    if isinstance(law, Gaussian):
        return 1.0
    if isinstance(law, Sphere):
        return law.moments().norm_sq / (law.dim - 1) if law.dim > 1 else None
    if isinstance(law, Cube):
        side = 2 * math.sqrt(3.0) if law.centered else 1.0
        return (side / math.pi) ** 2
    if isinstance(law, Circle):
        return 2.0
    if isinstance(law, GeneratedImage):
        return law.lipschitz_constant**2
    return None
