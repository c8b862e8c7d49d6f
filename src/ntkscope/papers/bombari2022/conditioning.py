"""Bombari et al. 2022, Proposition 3.3 and Theorem 3.4: the centred Jacobian is well conditioned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import size
from ntkscope.papers.bombari2022.centred import Centred, begin
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity


@PAPER.statement(
    "proposition-3.3",
    title="Rows with bounded sub-exponential norm",
    section="Proposition 3.3, eq. 13-14",
    sentence="λ_min(J̃J̃ᵀ) ≥ η_min² − Δ with Δ = C ξ² N^(1/4) (n_(L-1) n_(L-2))^(3/4).",
    latex=r"\lambda_{\min}(\tilde J\tilde J^\top)\ge\eta_{\min}^2-C\xi^2N^{1/4}(n_{L-1}n_{L-2})^{3/4}",
    level2="Gershgorin: min_i(η_i² − Σ_j|⟨J̃_i, J̃_j⟩|) ≤ λ_min(J̃J̃ᵀ) ≤ η_min²",
)
def restricted_isometry(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    K = c.kernel("full")
    eta_sq = K.diagonal()
    eta_min, eta_max = float(eta_sq.min().clamp_min(0)), float(eta_sq.max())
    value = c.smallest("full")
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", value, Quantity(eta_min, c.rounding), key="least-row")
    off = K.abs().sum(dim=1) - eta_sq.abs()
    gershgorin = Quantity(float((eta_sq - off).min()), c.rounding * len(K))
    out.at_least("λ_min(J̃J̃ᵀ) ≥ min_i (η_i² − Σ_(j≠i) |⟨J̃_i, J̃_j⟩|)", value, gershgorin,
                 key="gershgorin")  # fmt: skip
    psi = sub_exponential_norm(c)
    n = i.n[i.L - 2] * i.n[i.L - 1]
    xi = psi + math.sqrt(eta_max / n)
    delta = xi**2 * len(K) ** 0.25 * n**0.75
    out.scaling("η_min²", eta_min, "Ω", size(i), "β_L² n_(L-2) n_(L-1)", key="least-row-size")
    out.scaling("η_max²", eta_max, "O", size(i), "β_L² n_(L-2) n_(L-1)", key="largest-row-size")
    out.scaling("ψ, from below", psi, "O", i.beta[i.L], "β_L",
                note="the largest over the directions tried; the supremum may be larger", key="psi")  # fmt: skip
    out.scaling("η_min² − λ_min(J̃J̃ᵀ)", eta_min - value, "O", delta, "ξ² N^(1/4) (nn)^(3/4)",
                note="the constant C that this instance needs, with K = 1 and K′ = η_max/√(nn)",
                key="shortfall")  # fmt: skip
    out.table("Eq. 13", ("ψ, from below", "η_min", "η_max", "ξ = ψ + η_max/√(nn)", "Δ at C = 1",
              "η_min² − Δ", "λ_min(J̃J̃ᵀ)"), [(psi, math.sqrt(eta_min), math.sqrt(eta_max), xi, delta,
              eta_min - delta, value.value)])  # fmt: skip
    if delta:
        needed = max(0.0, (eta_min - value.value) / delta)
        out.note(f"C = {needed:.4g} makes eq. 13 an equality here; the paper leaves C open.")


def sub_exponential_norm(c: Centred) -> float:
    """max over directions tried of ‖⟨J̃_x, u⟩‖_ψ1 over the reference points: a lower estimate of ψ.

    Directions: rank-one random and leading ones, dense random ones, μ, and J̃ᵀv of the smallest
    eigenvector.
    """
    F, B = (m[:2048] for m in c.reference)
    mean = c.product_mean
    generator = c.i.generator("proposition-3.3")
    shape = tuple(mean.shape)
    directions = [torch.randn(shape, generator=generator).double() for _ in range(3)]
    _, vectors = torch.linalg.eigh(c.kernel("full"))
    directions.append((c.Ft * vectors[:, :1]).T @ c.Bt)
    if c.product_mean_sq > 0:
        directions.append(mean)
    norms = []
    for U_ in directions:
        U_ = U_ / torch.linalg.matrix_norm(U_, "fro").clamp_min(1e-300)
        norms.append(psi1(((F @ U_) * B).sum(dim=1) - float((mean * U_).sum())))
    lead_f, lead_b = (torch.linalg.eigh(m.T @ m)[1][:, -1] for m in (F, B))
    for index in range(17):
        p = lead_f if index == 0 else torch.randn(shape[0], generator=generator).double()
        q = lead_b if index == 0 else torch.randn(shape[1], generator=generator).double()
        p, q = p / torch.linalg.vector_norm(p), q / torch.linalg.vector_norm(q)
        norms.append(psi1((F @ p) * (B @ q) - float(p @ mean @ q)))
    return max(norms)


def psi1(values: Tensor) -> float:
    """inf {t > 0: mean exp(|y|/t) ≤ 2} of a sample, by bisection."""
    size = values.abs()
    top = float(size.max())
    if top == 0:
        return 0.0
    low, high = top / 700.0, 2.0 * top  # at 2·top every exponential is below 2
    for _ in range(80):
        middle = math.sqrt(low * high)
        if float(torch.exp(size / middle).mean()) <= 2.0:
            high = middle
        else:
            low = middle
    return high


@PAPER.statement(
    "theorem-3.4",
    title="The centred Jacobian is well conditioned",
    section="Theorem 3.4, eq. 15",
    sentence="λ_min(J̃J̃ᵀ) is at least of order n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(\tilde J_{L-2}\tilde J_{L-2}^\top)=\Omega(n_{L-2}n_{L-1})",
    level2="0 ≤ λ_min(J̃J̃ᵀ) ≤ η_min²; a success rate over fresh data",
)
def well_conditioned(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    value = c.smallest("full")
    diagonal = Quantity(float(c.kernel("full").diagonal().min()), c.rounding)
    out.at_least("λ_min(J̃J̃ᵀ) ≥ 0", value, 0.0, key="positive")
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", value, diagonal, key="least-row")
    measured = c.sampled("full")
    out.scaling("λ_min(J̃J̃ᵀ)", measured, "Ω", size(i), "β_L² n_(L-2) n_(L-1)", key="conditioning")
    out.scaling("λ_min(J̃J̃ᵀ)", measured, "Ω", diagonal.value, "η_min²", key="conditioning-by-row")
    if i.distribution is None:
        out.note("Fresh data need the distribution.")
        return
    if value.value <= 0:
        raise NotComputable("λ_min(J̃J̃ᵀ) is 0 here, so no rate over fresh data can be compared")
    met, trials = 0, min(i.trials, 5)
    for trial in range(trials):
        X = i.distribution.sample(i.N, i.generator(f"theorem-3.4 {trial}"))
        met += _fresh(i, c, X) >= 0.5 * value.value
    out.rate("λ_min(J̃J̃ᵀ) ≥ half of this instance's, over fresh data", met, trials,
             note="the paper's probability has unstated constants")  # fmt: skip


def _fresh(i: Instance, c: Centred, X: Tensor) -> float:
    """λ_min(J̃J̃ᵀ) on other data, the same weights and means."""
    with torch.no_grad():
        features, preactivations = i.model.layers(X.to(i.model.dtype))
    alpha = i.network.residual or 1.0
    slope = i.network.activation.derivative(preactivations[i.L - 2])
    F = features[i.L - 2] - c.F_mean
    B = alpha * slope * i.weight(i.L)[:, 0] - c.B_mean
    along = ((F @ c.product_mean) * B).sum(dim=1)
    K = (F @ F.T) * (B @ B.T) - along[:, None] - along[None, :] + c.product_mean_sq
    return float(torch.linalg.eigvalsh((K + K.T) / 2)[0])
