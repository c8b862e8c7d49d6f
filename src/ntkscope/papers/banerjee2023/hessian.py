"""Banerjee et al. 2023, §5: Definition 5.1 and Proposition 5.1 with an explicit c_H."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.networks import initialization
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import scaled_data
from ntkscope.papers.banerjee2023.draws import fresh_weights
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import as_printed
from ntkscope.papers.banerjee2023.spectral_ball import hessian_ascent, hessian_bound
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, rounded
from ntkscope.training.curvature import hessian_norms

_SAMPLES = 10  # the ascent starts from the one of these whose Hessian is largest at θ_0


def _radii(i: Instance) -> tuple[tuple[float, float], ...]:
    """(ρ, ρ_1) that are tried: θ_0, the unit ball, and half the size of the weights."""
    return (0.0, 0.0), (1.0, 1.0), (0.5 * i.network.betas[0] * math.sqrt(min(i.n[1 : i.L])), 1.0)


def _ascent(i: Instance, rho: float, rho1: float) -> tuple[float, list[Tensor]]:
    def make() -> tuple[float, list[Tensor]]:
        at = i.held("worst sample", lambda: _worst_sample(i))
        return hessian_ascent(i.model, i.X[at], rho, rho1)

    return i.held(("spectral ascent", rho, rho1), make)


def _worst_sample(i: Instance) -> int:
    rows = i.X[:_SAMPLES].to(i.model.dtype)
    return int(hessian_norms(i.model, rows, tol=1e-2).values.argmax())


def _require_smooth(i: Instance) -> None:
    if not i.plain:
        raise NotComputable("the bound is for networks without biases and residual connections")
    if i.slope is None or i.slope_of_derivative is None:
        raise NotComputable(
            f"the bound needs finite |φ′| and |φ″|, which {i.network.activation} has not"
        )


@PAPER.statement(
    "definition-5.1",
    title="The spectral ball",
    section="Definition 5.1",
    sentence="B(θ̄) holds every θ with ‖W^(l) − W̄^(l)‖₂ ≤ ρ in each layer and ‖v − v̄‖₂ ≤ ρ_1.",
    latex=r"B^{\mathrm{Spec}}_{\rho,\rho_1}(\bar\theta)=\{\theta:\|W^{(l)}-\overline W^{(l)}\|_2\le\rho,\ \|\mathbf v-\bar{\mathbf v}\|_2\le\rho_1\}",
    needs=(needs.plain,),
    level2="the points that the ascent of Proposition 5.1 reaches lie in it",
)
def definition_5_1(i: Instance, out: Findings) -> None:
    _require_smooth(i)
    for rho, rho1 in _radii(i)[1:]:
        weights = _ascent(i, rho, rho1)[1]
        for l, (moved, centre) in enumerate(zip(weights, i.model.weights, strict=True), start=1):
            off = float(torch.linalg.matrix_norm(moved - centre.detach(), 2))
            radius = rho1 if l == i.L else rho
            size = float(torch.linalg.matrix_norm(centre.detach(), 2)) + radius
            what = "‖v − v_0‖" if l == i.L else f"‖W^({l}) − W_0^({l})‖"
            out.at_most(f"{what}₂ ≤ {radius:.4g}", rounded(off, 64 * max(moved.shape), size), radius,
                        key="within", l=l, rho=rho)  # fmt: skip


@PAPER.statement(
    "proposition-5.1",
    title="The Hessian over the spectral ball",
    section="Proposition 5.1, eq. 11",
    sentence="max_i ‖∇²f(θ; x_i)‖₂ ≤ c_H/√m over the ball, c_H = O(poly(L)(1 + γ^{2L})(1 + ρ_1)), γ = ρ/√m + 4ν_0.",
    needs=(PAPER.needs[0], *PAPER.needs[2:]),
    latex=r"\max_i\|\nabla^2_\theta f(\theta;x_i)\|_2\le\frac{c_H}{\sqrt m},\quad c_H=O(\mathrm{poly}(L)(1+\gamma^{2L})(1+\rho_1))",
    level2="c_H = √m λ_max(H(γ)), H explicit; an ascent over the ball against it; the event ‖W_0^(l)‖₂ ≤ 4ν_0√m that gives it",
)
def proposition_5_1(i: Instance, out: Findings) -> None:
    _require_smooth(i)
    scaled = scaled_data(i, out)
    unit = initialization.unit_output(i.network.init)
    out.hypothesis("v_0 is a random unit vector", unit, i.model.weights[-1].detach().norm(), 1.0)
    s, m, hidden = Setting(i.network), min(i.n[1 : i.L]), i.L - 1
    nu = math.sqrt(s.nu_sq)
    norms = [float(torch.linalg.matrix_norm(w.detach(), 2)) for w in i.model.weights]
    x_norm = float(torch.linalg.vector_norm(i.X, dim=1).max())
    within = scaled and unit and as_printed(i)
    within = within and all(w <= 4 * nu * math.sqrt(m) for w in norms[:-1])
    rows = []
    for rho, rho1 in _radii(i):
        found = _ascent(i, rho, rho1)[0]
        measured = Quantity(found, 1e-12 * found)
        own = hessian_bound(i.network, [
            (w + rho) * scale for w, scale in zip(norms[:-1], i.network.scales, strict=False)
        ], norms[-1] + rho1, x_norm)  # fmt: skip
        at = f"ρ = {rho:.4g}, ρ_1 = {rho1:g}"
        out.at_most(f"‖∇²f‖₂ ≤ λ_max(H) with ‖W_0^(l)‖ + ρ, ‖v_0‖ + ρ_1; {at}", measured,
                    Quantity(own, 1e-12 * own), key="own", rho=rho)  # fmt: skip
        gamma = rho / math.sqrt(m) + 4 * nu
        c_H = explicit_c_H(i, gamma, rho1)
        if within:
            out.conclude_at_most(f"‖∇²f‖₂ ≤ c_H/√m, {at}", measured,
                                 Quantity(c_H / math.sqrt(m), 1e-12 * c_H), key="explicit",
                                 rho=rho)  # fmt: skip
        shape = (1 + gamma ** (2 * hidden)) * (1 + rho1)
        out.conclusion(f"√m max ‖∇²f‖₂, {at}", measured * math.sqrt(m), "O", shape,
                       "(1 + γ^{2L})(1 + ρ_1)", key="order", rho=rho)  # fmt: skip
        rows.append((rho, rho1, found * math.sqrt(m), own * math.sqrt(m), c_H, gamma, shape))
    out.table("√m ‖∇²f‖₂ over the spectral ball", ("ρ", "ρ_1", "ascent (from below)",
              "bound at ‖W_0‖ + ρ", "explicit c_H", "γ", "(1 + γ^{2L})(1 + ρ_1)"), rows)  # fmt: skip
    if as_printed(i):
        _norm_event(i, out, nu, m)


def explicit_c_H(i: Instance, gamma: float, rho1: float) -> float:
    """√m λ_max(H) at ‖W^(l)‖₂ ≤ γ√m, ‖v‖ ≤ 1 + ρ_1, ‖x‖² = d: what Prop. 5.1's c_H may be."""
    m = min(i.n[1 : i.L])
    norms = [gamma * math.sqrt(m) * scale for scale in i.network.scales[:-1]]
    return math.sqrt(m) * hessian_bound(i.network, norms, 1 + rho1, math.sqrt(i.d))


def _norm_event(i: Instance, out: Findings, nu: float, m: int) -> None:
    """‖W_0^(l)‖₂ ≤ 4ν_0√m in every layer, from which (11) follows with the explicit c_H."""
    promised = 1 - 2 * i.L / m
    bound = 4 * nu * math.sqrt(m)
    out.event_over(
        "‖W_0^(l)‖₂ ≤ 4ν_0√m in every layer, so (11) with the explicit c_H", fresh_weights(i),
        lambda fresh: all(
            float(torch.linalg.matrix_norm(w.detach(), 2)) <= bound for w in fresh.model.weights[:-1]
        ),
        promised, over="weights", key="norms",
    )  # fmt: skip
    # Davidson and Szarek: ‖W‖ ≤ ν_0(√m + √m_(l−1) + t) with probability 1 − e^{−t²/2}
    gaps = [3 * math.sqrt(m) - math.sqrt(i.n[l - 1]) for l in range(1, i.L)]
    proved = 1 - sum(math.exp(-0.5 * t * t) if t > 0 else 1.0 for t in gaps)
    out.at_least("proved probability 1 − Σ exp(−(3√m − √m_(l−1))²/2) ≥ 1 − 2(L+1)/m", proved, promised,
                 key="probability")  # fmt: skip
