"""Banerjee et al. 2023: λ_1, Theorems 4.1 and 4.2, general depth."""

from __future__ import annotations

import math
from functools import partial

import torch

from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import linear_width, scaled_data
from ntkscope.papers.banerjee2023.draws import (
    event_over_weights,
    every,
    reaches,
    theorem_promise,
)
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import ORDERS, as_printed, layers, monte_carlo
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, quantity


@PAPER.statement(
    "lambda-1",
    title="λ_1, the first expected Gram matrix",
    section="Theorem 4.1",
    sentence="λ_1 is the smallest eigenvalue of E_g[φ(Xg/√d)φ(Xg/√d)ᵀ], g ~ N(0, ν_0² I).",
    latex=r"\lambda_1=\lambda_{\min}\big(\mathbb{E}_g[\phi(Xg/\sqrt d)\phi(Xg/\sqrt d)^\top]\big)",
    needs=(),
    level2="λ_1 ≤ min_i c_(φ,a_i), and Monte Carlo over g on the smallest eigenvector",
)
def lambda_one(i: Instance, out: Findings) -> None:
    k = layers(i)
    matrix, error = k.expected(1)
    value = k.smallest(1)
    out.at_most("λ_1 ≤ min_i E φ(x_iᵀg/√d)²", value,
                Quantity(float(matrix.diagonal().min()), error), key="least-moment",
                tautology=True)  # fmt: skip
    vectors = torch.linalg.eigh(matrix)[1]
    for name, v in (("v_min", vectors[:, 0]), ("v_max", vectors[:, -1])):
        form = value if name == "v_min" else Quantity(float(v @ matrix @ v), error)
        mean = monte_carlo(i, k, v, "lambda-1", form.value)
        left = "λ_1" if name == "v_min" else "λ_max"
        out.equal(f"{left} = E_g ⟨φ(Xg/√d), {name}⟩² by Monte Carlo", form, mean, key="monte-carlo",
                  v=name)  # fmt: skip
    out.conclusion("λ_1", value, "Ω", 1.0, "1", key="lambda",
                   note="what eq. 10 and Theorem 4.1 need of the data; no assumption gives it")  # fmt: skip


@PAPER.statement(
    "theorem-4.1",
    title="Linear width suffices",
    section="Theorem 4.1",
    sentence="λ_min(K_ntk) ≥ c_0 λ_1 with c_0 = max_(r>1) c_0^{(L−1,r)}.",
    latex=r"\lambda_{\min}(K_{\mathrm{ntk}}(\cdot;\theta_0))\ge c_0\lambda_1",
    level2="λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m and the Schur sum over layers; the event with the printed c_0 over weights",
)
def theorem_4_1(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    linear_width(i, out)
    k = layers(i)
    value = quantity(i.lambda_K)
    top = i.L - 1
    last = i.lambda_features(top) * i.network.scales[top] ** 2
    out.at_least("λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m", value, last, key="last-layer", tautology=True)
    total = last
    for l in range(i.L - 1):
        part = i.lambda_features(l) * i.min_norm_sq(i.B(l + 1))
        total = total + part * i.network.scales[l] ** 2
    out.at_least("λ_min(K) ≥ Σ_l λ_min(A^(l-1)A^(l-1)ᵀ)/m_(l-1) · min‖B_l‖² + the last", value,
                 total, key="shared.schur-sum", tautology=True)  # fmt: skip
    out.conclusion("λ_min(K)", value, "Ω", k.smallest(1), "λ_1", key="kernel")
    if not as_printed(i):
        out.note("The printed constant is for the ntk parameterization with ν_0: not compared.")
        return
    lambda_1, hidden = k.smallest(1), k.hidden
    found = k.supremum(hidden - 1)
    out.note(f"Printed c_0 = max_(r>1) c_0^{{({hidden - 1},r)}}: {found.words}. {WITHOUT_MAXIMUM}")
    event_over_weights(
        i, out, "λ_min(K) ≥ c_0 λ_1, c_0 as printed",
        lambda fresh: _kernel_event(fresh, lambda_1), theorem_promise(i), key="printed",
    )  # fmt: skip
    r = max(ORDERS[1:], key=lambda r: k.printed(hidden - 1, r).value)
    out.conclude_at_least(f"λ_min(K) ≥ c_0^{{({hidden - 1},{r})}} λ_1, as printed", value,
                          lambda_1 * k.printed(hidden - 1, r), erratum=True, key="printed",
                          promised=theorem_promise(i), r=r)  # fmt: skip


WITHOUT_MAXIMUM = (
    "(σ_0²/2)^{3r} μ_r² = α_r(a)² q^r with q = (σ_0²/2)³/a grows without bound where q > 1 and φ has "
    "poles or kinks: near σ_0² > 2√2 for tanh."
)


def _kernel_event(fresh: Instance, lambda_1: Quantity) -> bool | None:
    found = layers(fresh).supremum(fresh.L - 2)
    if found.bounded is False and lambda_1.value > lambda_1.error:
        return False
    return reaches(quantity(fresh.lambda_K), lambda_1 * found.at)


@PAPER.statement(
    "theorem-4.2",
    title="Smallest eigenvalue of the activation matrices",
    section="Theorem 4.2",
    sentence="λ_min(A^(l)A^(l)ᵀ) ≥ c_0^{(l−1,r)} m_l λ_1 for every layer and every r > 1.",
    latex=(
        r"\lambda_{\min}(A^{(l)}A^{(l)\top})\ge c_0^{(l-1,r)}m_l\lambda_1,\quad "
        r"c_0^{(l,r)}=\Big(\frac{(\mu_{r,0}^{(l)})^2}{6c_{\phi,\sigma_0}}\Big)^l\Big(\frac{\sigma_0^2}{2}\Big)^{3rl}"
    ),
    level2="the event with the printed constants, r = 2 … 7, over weights; both constants beside the measured ratio",
)
def theorem_4_2(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    linear_width(i, out)
    k = layers(i)
    lambda_1 = k.smallest(1)
    rows = []
    for l in range(1, i.L):
        measured = i.lambda_features(l)
        out.conclusion(f"λ_min(A^({l})A^({l})ᵀ)", measured, "Ω", lambda_1 * i.n[l], "m_l λ_1",
                       key="features", l=l)  # fmt: skip
        ratio = measured.value / (i.n[l] * lambda_1.value) if lambda_1.value else math.nan
        for r in ORDERS:
            printed, corrected = k.printed(l - 1, r), k.corrected(l - 1, r)
            rows.append((l, r, k.mu_sq(l, r).value, printed.value, corrected.value / 4, ratio))
    out.table("c_0^{(l−1,r)}", ("l", "r", "min μ_r² (layer l)", "printed", "corrected/4",
              "λ_min(A^(l)A^(l)ᵀ)/(m_l λ_1)"), rows)  # fmt: skip
    out.note("The constant is not positive for every r > 1: an odd φ has μ_r = 0 at even r.")
    if not as_printed(i):
        return
    for l in range(1, i.L):
        event_over_weights(
            i, out, f"λ_min(A^({l})A^({l})ᵀ) ≥ c_0^{{({l - 1},r)}} m λ_1 as printed, r = 2 … 7",
            partial(_features_event, l=l, lambda_1=lambda_1), theorem_promise(i),
            key="printed", note=_FIRST_LAYER if l == 1 else "", l=l,
        )  # fmt: skip
        for r in ORDERS[1:]:
            right = lambda_1 * (k.printed(l - 1, r) * i.n[l])
            out.conclude_at_least(f"layer {l}, r = {r}, as printed", i.lambda_features(l), right,
                                  erratum=True, key="printed", promised=theorem_promise(i), l=l,
                                  r=r)  # fmt: skip


_FIRST_LAYER = (
    "c_0^{(0,r)} = 1, but E λ_min(A^(1)A^(1)ᵀ) ≤ m λ_1 (λ_min is concave): the factor 1/4 of Lemma 4.1 "
    "was dropped in the last step of the proof"
)


def _features_event(fresh: Instance, l: int, lambda_1: Quantity) -> bool | None:
    k = layers(fresh)
    orders = ORDERS[1:2] if l == 1 else ORDERS[1:]
    return every(
        reaches(fresh.lambda_features(l), lambda_1 * (k.printed(l - 1, r) * fresh.n[l]))
        for r in orders
    )


@PAPER.statement(
    "remark-4.1",
    title="General depth",
    section="Remark 4.1",
    sentence="Depth enters the width through h_C(L)⁴, which is poly(L) only if ν_0² ≤ 1.",
    latex=r"m=\Omega\big(n\,h_C^4(L)\log n\log(n/\delta)\big),\quad h_C(L)=\sum_{i=1}^L\nu_0^{2i}",
    level2="h_C(L) ≤ L max(1, ν_0²)^L; φ(0) = 0, |φ′| ≤ 1: ν_0² ≥ 1, so h_C(L) ≥ L, equal for linear φ alone",
)
def remark_4_1(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    s, hidden = Setting(i.network), i.L - 1
    h1, h0 = s.h(hidden, 1), s.h(hidden, 0)
    if i.N > 1:
        width = i.N * h1**4 * math.log(i.N) * math.log(i.N / i.delta)
        for l in range(1, i.L):
            out.order_of(f"m_{l} = Ω(n h_C⁴ log n log(n/δ))", i.n[l], width, at_least=True)
    measured = Quantity(h1, 1e-10 * h1)
    out.conclude_at_most("h_C(L) ≤ L max(1, ν_0²)^L", measured,
                         Quantity(hidden * max(1.0, s.nu_sq) ** hidden, 1e-10 * h1),
                         key="depth-sum-most")  # fmt: skip
    phi = i.network.activation
    if phi.at_zero == 0.0 and phi.lipschitz is not None and phi.lipschitz <= 1.0:
        out.at_least("h_C(L) ≥ L", measured, float(hidden), key="depth-sum")
        out.note(
            f"ν_0² = {s.nu_sq:.6g} here, and ν_0² ≥ 1 for every φ with φ(0) = 0, |φ′| ≤ 1 (c ≤ σ_0²): the "
            "case ν_0² ≤ 1, where h_C(L) = O(L), is that of a linear φ alone."
        )
    out.note(f"h_C(L) starts at i = 1 here ({h1:.6g}) and at i = 0 in Lemma 4.2 ({h0:.6g}).")
