"""Banerjee et al. 2023: Definition 4.1, Remarks 4.2 and 4.3."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.polynomial import Polynomial
from scipy.integrate import IntegrationWarning, quad

from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.activations.polynomials import hermite_polynomials
from ntkscope.data import summarize
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.layers import (
    ORDERS,
    layers,
    monte_carlo,
)
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, quantity

SERIES = 40  # terms of the Hermite series of Definition 4.1


PRINTED = 12  # of the printed one, whose terms a^(−2r)α_r² magnify what α_r is wrong by


@PAPER.statement(
    "definition-4.1",
    title="Generalised Hermite polynomials",
    section="Definition 4.1, eq. 5-7",
    sentence="φ = Σ_r μ_r^{[a]} H_r^{[a]} with H_r^{[a]} by Rodrigues' formula and μ_r = ∫φH_r dx.",
    latex=r"H_r^{[a]}(x)=\frac{(-1)^r}{\sqrt{r!}}e^{x^2/2a}\frac{d^r}{dx^r}e^{-x^2/2a},\quad \mu_r^{[a]}(g)=\int gH_r^{[a]}dx,\quad g=\sum_r\mu_r^{[a]}H_r^{[a]}",
    needs=(),
    level2="H_{r+1} = (xH_r/a − H_r′)/√(r+1); E[H_rH_s] = a^(−r)δ_rs; φ = Σ a^r μ_r H_r in L²(N(0, a))",
)
def definition_4_1(i: Instance, out: Findings) -> None:
    k = layers(i)
    # to the digits that a claim's name shows
    measured = float(f"{round(float(k.variances(i.L - 1).median()), 6):.6g}")
    variances = sorted({0.25, 1.0, measured, 2.0} - {0.0})
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / math.sqrt(2 * math.pi)
    for a in variances:
        x = torch.tensor(nodes) * math.sqrt(a)
        ours = hermite_polynomials(6, x, a).numpy()
        p, worst = Polynomial([1.0]), 0.0
        for r in range(7):
            exact = p(x.numpy())
            scale = np.abs(p.coef) @ np.abs(x.numpy()[None, :]) ** np.arange(len(p.coef))[:, None]
            worst = max(worst, float((np.abs(ours[r] - exact) / np.maximum(scale, 1e-300)).max()))
            p = (Polynomial([0.0, 1.0 / a]) * p - p.deriv()) / math.sqrt(r + 1)
        bar = 1e3 * U
        out.equal(f"eq. 5 by recurrence, a = {a:g}, relative distance", Quantity(worst, bar), 0.0,
                  key="recurrence", scale=1.0, a=a)  # fmt: skip
        gram = (ours * weights) @ ours.T * a ** np.arange(7)[:, None]
        off = float(np.abs(gram - np.eye(7)).max())
        bar = 1e5 * U * max(1.0, a**-6, a**6)
        out.equal(f"a^r E[H_rH_s] = δ_rs, a = {a:g}, distance", Quantity(off, bar), 0.0,
                  key="orthogonal", scale=1.0, a=a)  # fmt: skip
        _series(i, out, a)
    _unweighted(i, out)


def _series(i: Instance, out: Findings, a: float) -> None:
    """E(φ − partial sum)² by Parseval: printed coefficients μ_r, and the corrected a^r μ_r."""
    table = hermite_coefficients(i.network.activation, SERIES, a)
    alpha_sq = table.values[0].square()
    total = float(table.second_moment[0])
    tail = float(table.tails[0, -1])
    bar = 1e-12 * total + 4 * table.error * math.sqrt(total)
    corrected = Quantity(total - float(alpha_sq.sum()), bar)
    out.equal(f"E(φ − Σ_(r≤{SERIES}) a^r μ_r H_r)² = tail, a = {a:g}", corrected,
              Quantity(tail, bar), key="corrected", a=a)  # fmt: skip
    if a != 1.0:
        # ⟨φ, H_r⟩ = a^{-r/2}α_r and ‖H_r‖² = a^{-r}, so with coefficient a^{-r/2}α_r each term
        # leaves α²(1 − a^{-r})²
        size = alpha_sq[: PRINTED + 1]
        factors = (1 - 1 / a ** torch.arange(PRINTED + 1, dtype=torch.float64)).square()
        wrong = (2 * size.sqrt() + table.error) * table.error * factors
        rest = Quantity(total - float(size.sum()), bar)
        printed = Quantity(float((size * factors).sum()), float(wrong.sum())) + rest
        out.conclude_at_most(f"E(φ − Σ_(r≤{PRINTED}) μ_r H_r)² ≤ tail, eq. 7 as printed, a = {a:g}", printed,
                    rest, erratum=True, key="printed", a=a)  # fmt: skip


def _unweighted(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    rows = []
    for reach in (1.0, 10.0, 100.0):
        found: list[float] = []
        for r in (0, 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IntegrationWarning)  # its error is in the table
                found += quad(
                    lambda x, r=r: float(phi(torch.tensor(x).double())) * (x if r == 1 else 1.0),
                    -reach, reach, points=[0.0], limit=200,
                )  # fmt: skip
        rows.append((reach, *found))
    out.table("eq. 6 as printed, without the Gaussian weight: ∫_(−R)^R φ H_r dx, a = 1",
              ("R", "r = 0", "± r = 0", "r = 1", "± r = 1"), rows)  # fmt: skip
    out.note(
        "The integral of eq. 6 has no limit as R grows; the weight e^(−x²/2a)/√(2πa) is missing."
    )


@PAPER.statement(
    "remark-4.2a",
    title="λ_1 > 0 from linearly independent data",
    section="Remark 4.2 (a)",
    sentence="If λ_min(X̄X̄ᵀ) > 0 then λ_1 > 0.",
    latex=r"\lambda_{\min}(\bar X\bar X^\top)>0\ \Rightarrow\ \lambda_1>0",
    needs=(),
    level2="λ_1 ≥ min μ_r² ν^{2r} λ_min((X̄X̄ᵀ)^{∘r}) for r = 1 … 7; r = 1 is the remark",
)
def remark_4_2a(i: Instance, out: Findings) -> None:
    k = layers(i)
    gram = i.lambda_features(0)
    independent = gram.value - gram.error > 0
    out.hypothesis("λ_min(X̄X̄ᵀ) > 0", independent, gram.value / i.d, 0.0,
                   "" if independent else "n > d or dependent rows: r ≥ 2 may still help")  # fmt: skip
    value = k.smallest(1)
    rows = []
    for r in ORDERS:
        bound = k.mu_sq(1, r) * k.lambda_power(1, r)
        claim = out.conclude_at_least if r == 1 else out.at_least
        claim(f"λ_1 ≥ min μ_{r}² λ_min(C^∘{r})", value, bound, key="hermite", l=1, r=r)
        rows.append((r, k.mu_sq(1, r).value, k.lambda_power(1, r).value, bound.value, value.value))
    out.table("Lower bounds on λ_1", ("r", "min μ_r²", "λ_min(C^∘r)", "bound", "λ_1"), rows)


@PAPER.statement(
    "remark-4.2b",
    title="λ_1 > 0 from separated data",
    section="Remark 4.2 (b)",
    sentence="λ_1(v) = E⟨φ(X̄g), v⟩² vanishes only if ⟨φ(X̄g), v⟩ = 0 almost surely.",
    latex=r"\lambda_1(v)=\mathbb{E}_g[\langle\phi(\bar Xg),v\rangle^2]>0",
    needs=(),
    level2="vᵀE[φφᵀ]v = E⟨φ(X̄g), v⟩² by Monte Carlo, for v_min and for (e_i − e_j)/√2 of the nearest pair",
)
def remark_4_2b(i: Instance, out: Findings) -> None:
    k = layers(i)
    matrix, error = k.expected(1)
    about = summarize(i.X)
    vectors = {"v_min": torch.linalg.eigh(matrix)[1][:, 0]}
    if about.nearest_pair is not None:
        v = torch.zeros(i.N, dtype=torch.float64)
        v[about.nearest_pair[0]], v[about.nearest_pair[1]] = 0.5**0.5, -(0.5**0.5)
        vectors["nearest pair"] = v
        angle = about.nearest_angle or 0.0
        out.hypothesis("separation: the nearest two directions differ", angle > 0, angle, 0.0)
    for name, v in vectors.items():
        exact = Quantity(float(v @ matrix @ v), error)
        mean = monte_carlo(i, k, v, f"4.2b {name}", exact.value)
        out.equal(f"λ_1(v) by Monte Carlo, v = {name}", exact, mean, key="monte-carlo", v=name)
        out.at_most(f"λ_1 ≤ λ_1(v), v = {name}", k.smallest(1), exact, key="rayleigh", v=name,
                    tautology=True)  # fmt: skip
    pair, distance = about.nearest_pair, about.nearest_distance
    if pair is not None and distance is not None and i.slope is not None:
        # E(φ(u) − φ(u′))²/2 ≤ M² E(u − u′)²/2
        bound = (i.slope * i.beta[1] * distance) ** 2 / 2
        out.at_most("λ_1 ≤ M²ν²‖x̄_i − x̄_j‖²/2, the nearest pair", k.smallest(1),
                    Quantity(bound, 1e-12 * bound), key="nearest-pair")  # fmt: skip
    out.conclusion("λ_1", k.smallest(1), "Ω", 1.0, "1", key="positive", note="λ_1 > 0")


@PAPER.statement(
    "remark-4.3",
    title="The last layer does not matter",
    section="Remark 4.3",
    sentence="The bound λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m does not depend on the last layer v.",
    latex=r"\lambda_{\min}(K_{\mathrm{ntk}})\ge\tfrac1{m_L}\lambda_{\min}(A^{(L)}A^{(L)\top})\quad\forall\,v",
    needs=(),
    level2="the inequality, and λ_min(K)/λ_1, for v = v_0, 0, 1000·v_0, a single neuron",
)
def remark_4_3(i: Instance, out: Findings) -> None:
    top = i.L - 1
    bound = i.lambda_features(top) * i.network.scales[top] ** 2
    lambda_1 = layers(i).smallest(1)
    v0 = i.model.weights[-1].detach()
    single = torch.zeros_like(v0)
    single[0] = 1.0
    for name, v in {"v_0": v0, "0": 0 * v0, "1000 v_0": 1000 * v0, "e_1": single}.items():
        weights = [w.detach() for w in i.model.weights[:-1]]
        biases = [b.detach() for b in i.model.biases] or None
        model = MLP(i.network, [*weights, v], biases)
        value = i.lambda_K if name == "v_0" else smallest_eigenvalue(empirical_ntk(model, i.X))
        out.at_least(f"λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m, v = {name}", quantity(value), bound,
                     key="last-layer", tautology=True, v=name)  # fmt: skip
        out.conclusion(f"λ_min(K), v = {name}", quantity(value), "Ω", lambda_1, "λ_1", key="kernel",
                       v=name)  # fmt: skip
