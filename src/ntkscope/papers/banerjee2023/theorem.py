"""Banerjee et al. 2023: λ_1, Theorem 4.1 and its depth."""

from __future__ import annotations

import math

import torch

from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import require
from ntkscope.papers.banerjee2023.hypotheses import (
    Setting,
)
from ntkscope.papers.banerjee2023.layers import (
    as_printed,
    layers,
    monte_carlo,
)
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
    level2="0 ≤ λ_1 ≤ min_i c_(φ,a_i), and Monte Carlo over g on the smallest eigenvector",
)
def lambda_one(i: Instance, out: Findings) -> None:
    k = layers(i)
    matrix, error = k.expected(1)
    value = k.smallest(1)
    out.at_least("λ_1 ≥ 0", value, 0.0, key="positive")
    out.at_most("λ_1 ≤ min_i E φ(x_iᵀg/√d)²", value,
                Quantity(float(matrix.diagonal().min()), error), key="least-moment")  # fmt: skip
    vectors = torch.linalg.eigh(matrix)[1]
    for name, v in (("v_min", vectors[:, 0]), ("v_max", vectors[:, -1])):
        form = value if name == "v_min" else Quantity(float(v @ matrix @ v), error)
        mean = monte_carlo(i, k, v, "lambda-1", form.value)
        left = "λ_1" if name == "v_min" else "λ_max"
        out.equal(f"{left} = E_g ⟨φ(Xg/√d), {name}⟩² by Monte Carlo", form, mean, key="monte-carlo",
                  v=name)  # fmt: skip
    for l in range(1, i.L):
        out.scaling(f"λ_{l}", k.smallest(l), "Θ", 1.0, "1", key="lambda", l=l)


@PAPER.statement(
    "theorem-4.1",
    title="Linear width suffices",
    section="Theorem 4.1",
    sentence="λ_min(K_ntk) ≥ c_0 λ_1 with c_0 = max_(r>1) c_0^{(L−1,r)}.",
    latex=r"\lambda_{\min}(K_{\mathrm{ntk}}(\cdot;\theta_0))\ge c_0\lambda_1",
    level2="λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m, the Schur sum over layers; corrected c_0 on the event",
)
def theorem_4_1(i: Instance, out: Findings) -> None:
    require(i, out)
    k = layers(i)
    value = quantity(i.lambda_K)
    top = i.L - 1
    share = i.network.scales[top] ** 2
    last = i.lambda_features(top) * share
    out.at_least("λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m", value, last, key="last-layer")
    total = last
    for l in range(i.L - 1):
        part = i.lambda_features(l) * i.min_norm_sq(i.B(l + 1))
        total = total + part * i.network.scales[l] ** 2
    out.at_least("λ_min(K) ≥ Σ_l λ_min(A^(l-1)A^(l-1)ᵀ)/m_(l-1) · min‖B_l‖² + the last", value,
                 total, key="shared.schur-sum")  # fmt: skip
    r, constant = k.best(k.hidden - 1, printed=True)
    if as_printed(i):
        out.at_least(f"λ_min(K) ≥ c_0 λ_1 as printed (r = {r})", value, k.smallest(1) * constant,
                     erratum=True, key="printed", r=r)  # fmt: skip
    else:
        out.note("The printed constant is for the ntk parameterization with ν_0: not compared.")
    r, corrected = k.best(k.hidden - 1, printed=False)
    met = [k.event(l) for l in range(1, i.L)]
    if all(met):
        bound = corrected * k.smallest(1) * (share * i.n[top] / 4)
        out.at_least(f"λ_min(K) ≥ corrected c_0 λ_1 on Lemma 4.1's event (r = {r})", value, bound,
                     key="corrected", r=r)  # fmt: skip
    else:
        out.note(
            f"Lemma 4.1's event fails in layers {[l + 1 for l, m in enumerate(met) if not m]}."
        )
    out.scaling("λ_min(K)", value, "Ω", max(k.smallest(1).value, 1e-300), "λ_1", key="kernel")


@PAPER.statement(
    "remark-4.1",
    title="General depth",
    section="Remark 4.1",
    sentence="Depth enters the width through h_C(L)⁴, which is poly(L) only if ν_0² ≤ 1.",
    latex=r"m=\Omega\big(n\,h_C^4(L)\log n\log(n/\delta)\big),\quad h_C(L)=\sum_{i=1}^L\nu_0^{2i}",
    level2="φ(0) = 0, |φ′| ≤ 1: ν_0² ≥ 1, so h_C(L) ≥ L with equality for linear φ alone",
)
def remark_4_1(i: Instance, out: Findings) -> None:
    require(i, out)
    s, hidden = Setting(i.network), i.L - 1
    h1, h0 = s.h(hidden, 1), s.h(hidden, 0)
    if i.N > 1:
        width = i.N * h1**4 * math.log(i.N) * math.log(i.N / i.delta)
        for l in range(1, i.L):
            out.order_of(f"m_{l} = Ω(n h_C⁴ log n log(n/δ))", i.n[l], width, at_least=True)
    phi = i.network.activation
    if phi.at_zero == 0.0 and phi.lipschitz is not None and phi.lipschitz <= 1.0:
        out.at_least("h_C(L) ≥ L", Quantity(h1, 1e-10 * h1), float(hidden), key="depth-sum")
        out.hypothesis("ν_0² ≤ 1, for which h_C(L) = O(L)", s.nu_sq <= 1 + 1e-12, s.nu_sq, 1.0,
                       "ν_0² ≥ 1 always; 1 only in the limit σ_0 → 0 or for linear φ")  # fmt: skip
    out.scaling("h_C(L), i from 1 (Remark 4.1)", h1, "O", float(hidden), "L", key="depth-sum-1")
    out.scaling("h_C(L), i from 0 (Lemma 4.2)", h0, "O", float(hidden + 1), "L + 1",
                key="depth-sum-0")  # fmt: skip
