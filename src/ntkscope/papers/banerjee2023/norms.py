"""Banerjee et al. 2023, Lemma 4.2: the norms of the activations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import norm_condition, scaled_data
from ntkscope.papers.banerjee2023.draws import event_over_weights, fresh_weights
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import Layers, as_printed, layers
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, rounded


@PAPER.statement(
    "lemma-4.2",
    title="Norms of the activations",
    section="Lemma 4.2",
    sentence="‖α^(l)(x_i)‖² lies between c m_l/2 and 3c m_l/2 for all layers and samples.",
    latex=(
        r"\tfrac{c_{\phi,\sigma_0}}2m_l\le c_{\phi,\sigma_0}\Big(1-\tfrac{h_C(l)}{2h_C(L)}\Big)m_l\le"
        r"\|\alpha^{(l)}(x_i)\|_2^2\le c_{\phi,\sigma_0}\Big(1+\tfrac{h_C(l)}{2h_C(L)}\Big)m_l\le\tfrac{3c_{\phi,\sigma_0}}2m_l"
    ),
    needs=(*PAPER.needs[:2], *PAPER.needs[3:]),
    level2="the event over weights, at ‖x‖² = d as printed and at ‖x‖² = c d; |c_(φ,√a_i) − c_(φ,σ0)| ≤ M²|a_i − σ_0²|; ‖α^(l)‖ ≤ |φ(0)|√m + M‖W‖‖α^(l−1)‖",
)
def lemma_4_2(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    k, s = layers(i), Setting(i.network)
    hidden = k.hidden
    norm_condition(i, out, s)
    # ‖φ(z)²‖_ψ1 is of the order of σ_0², which the printed condition takes to be 1
    scaled, root = s.norm_condition(hidden, s.sigma_sq), math.sqrt(min(i.n[1 : i.L]))
    out.note(
        f"The condition does not scale as c does. With σ_0² h_C in place of h_C it reads {scaled:.4g} ≤ "
        f"{root:.4g}: {'met' if scaled <= root else 'not met'}."
    )
    _norm_recursion(i, out, k, s)
    rows = []
    for l in range(1, i.L):
        norms = i.norms_sq(i.F(l)) / (s.c * i.n[l])
        scaled_norms = _rescaled(i, s)[l] / (s.c * i.n[l])
        inner = s.h(l, 0) / (2 * s.h(hidden, 0))
        rows.append((l, float(norms.min()), float(norms.max()), float(scaled_norms.min()),
                     float(scaled_norms.max()), 1 - inner, 1 + inner))  # fmt: skip
    out.table("‖α^(l)(x_i)‖²/(c m_l)", ("l", "least, x as given", "largest", "least, ‖x‖² = c d",
              "largest", "1 − h_C(l)/2h_C(L)", "1 + h_C(l)/2h_C(L)"), rows)  # fmt: skip
    if not as_printed(i):
        return
    promised = 1 - 2 * i.N * sum(1 / i.n[l] ** 2 for l in range(1, i.L))
    event_over_weights(
        i, out, "‖α^(l)‖²/(c m_l) within ½ … 3/2, as printed",
        lambda fresh: within_band(fresh, s), promised, key="printed",
        note="W^(1) ~ N(0, ν_0²) and ‖x‖² = d give the first pre-activation variance ν_0², not σ_0²",
    )  # fmt: skip
    for row in rows:
        l, low, high = int(row[0]), row[1], row[2]
        out.conclude_at_least(f"min_i ‖α^({l})‖² ≥ c m_{l}/2, as printed", rounded(low, i.n[l]), 0.5,
                              erratum=True, key="least-norm", promised=promised, l=l)  # fmt: skip
        out.conclude_at_most(f"max_i ‖α^({l})‖² ≤ 3c m_{l}/2, as printed", rounded(high, i.n[l]), 1.5,
                             erratum=True, key="largest-norm", promised=promised, l=l)  # fmt: skip
    _band_rates(i, out, s, promised, scaled > root)


def within_band(fresh: Instance, s: Setting) -> bool:
    """½ ≤ ‖α^(l)(x_i)‖²/(c m_l) ≤ 3/2 for all layers and samples."""
    return all(
        float((fresh.norms_sq(fresh.F(l)) / (s.c * fresh.n[l]) - 1).abs().max()) <= 0.5
        for l in range(1, fresh.L)
    )


def _band_rates(i: Instance, out: Findings, s: Setting, promised: float, too_wide: bool) -> None:
    """How often draws of the weights stay within the bands of Lemma 4.2, at ‖x‖² = c d."""
    hidden = i.L - 1
    # the inner band of layer l is 1 ± h_C(l)/2h_C(L), the outer 1 ± ½
    bands = {"outer": [0.5] * hidden, "inner": [
        s.h(l, 0) / (2 * s.h(hidden, 0)) for l in range(1, i.L)
    ]}  # fmt: skip
    met = dict.fromkeys(bands, 0)
    trials = 0
    for fresh in fresh_weights(i):
        trials += 1
        found = _rescaled(fresh, s)
        off = [float((found[l] / (s.c * i.n[l]) - 1).abs().max()) for l in range(1, i.L)]
        for which, allowed in bands.items():
            met[which] += all(o <= a for o, a in zip(off, allowed, strict=True))
    for which, band in (("outer", "½ … 3/2"), ("inner", "1 ± h_C(l)/2h_C(L)")):
        if which == "outer" or hidden > 1:
            out.event(f"‖α^(l)‖²/(c m_l) within {band} with ‖x‖² = c d", met[which], trials, promised,
                      "the first variance is then σ_0²", erratum=too_wide, over="weights",
                      key=which)  # fmt: skip


def _norm_recursion(i: Instance, out: Findings, k: Layers, s: Setting) -> None:
    phi = k.phi
    M = i.slope
    if M is None:
        out.note(f"sup |φ′| of {phi} is not known: the recursion of the proof has no constant.")
        return
    for l in range(1, i.L):
        a = k.variances(l)
        if phi.at_zero == 0.0:
            moments = hermite_coefficients(phi, 0, a).second_moment
            gap = (moments - s.c).abs() - M**2 * (a - s.sigma_sq).abs()
            at = int(gap.argmax())
            bar = 1e-10 * (s.c + float(moments[at]))
            out.at_most(f"|c_(φ,√a_i) − c_(φ,σ0)| ≤ M²|a_i − σ_0²|, layer {l}",
                        Quantity(abs(float(moments[at]) - s.c), bar),
                        rounded(M**2 * abs(float(a[at]) - s.sigma_sq), i.n[l - 1]), key="variance",
                        l=l)  # fmt: skip
        before, after = (torch.linalg.vector_norm(i.F(j), dim=1) for j in (l - 1, l))
        bias = float(i.model.biases[l - 1].detach().norm()) if len(i.model.biases) else 0
        reach = abs(phi.at_zero) * math.sqrt(i.n[l]) + M * (i.op_norm(l).value * before + bias)
        at = int((after - reach).argmax())
        out.at_most(f"‖α^({l})‖ ≤ |φ(0)|√m + M‖W^({l})‖‖α^({l - 1})‖",
                    rounded(after[at], 8 * i.n[l]), rounded(reach[at], 8 * sum(i.n)), key="growth",
                    l=l)  # fmt: skip


def _rescaled(i: Instance, s: Setting) -> list[Tensor]:
    """‖f_l(x)‖² for l = 0 … L−1 with every row of X scaled to ‖x‖² = c d."""
    norms = torch.linalg.vector_norm(i.X, dim=1, keepdim=True).clamp_min(1e-300)
    X = i.X * (math.sqrt(s.c * i.d) / norms)
    with torch.no_grad():
        return [i.norms_sq(f) for f in i.model.layers(X.to(i.model.dtype))[0]]
