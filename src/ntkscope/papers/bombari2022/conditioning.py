"""Bombari et al. 2022, Proposition 3.3 and Theorem 3.4: the centred Jacobian is well conditioned."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import size
from ntkscope.papers.bombari2022.centred import Centred, begin, centred
from ntkscope.papers.bombari2022.psi import sub_exponential_norm
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Event
from ntkscope.statements.quantity import Quantity


@PAPER.statement(
    "proposition-3.3",
    title="Rows with bounded sub-exponential norm",
    section="Proposition 3.3, eq. 13-14",
    sentence="λ_min(J̃J̃ᵀ) ≥ η_min² − Δ with Δ = C ξ² N^(1/4) (n_(L-1) n_(L-2))^(3/4).",
    latex=r"\lambda_{\min}(\tilde J\tilde J^\top)\ge\eta_{\min}^2-C\xi^2N^{1/4}(n_{L-1}n_{L-2})^{3/4}",
    needs=(),
    level2="the C of eq. 13 here and over fresh data, with what each leaves of (14)",
)
def restricted_isometry(i: Instance, out: Findings) -> None:
    c = centred(i)
    out.note(i.reference_note)
    K = c.kernel("full")
    eta_sq = K.diagonal()
    eta_min, eta_max = float(eta_sq.min().clamp_min(0)), float(eta_sq.max())
    value = c.smallest("full")
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", value, Quantity(eta_min, c.rounding), key="least-row",
                tautology=True)  # fmt: skip
    off = K.abs().sum(dim=1) - eta_sq.abs()
    gershgorin = Quantity(float((eta_sq - off).min()), c.rounding * len(K))
    out.at_least("λ_min(J̃J̃ᵀ) ≥ min_i (η_i² − Σ_(j≠i) |⟨J̃_i, J̃_j⟩|)", value, gershgorin,
                 key="gershgorin", tautology=True)  # fmt: skip
    psi = sub_exponential_norm(c)
    n = i.n[i.L - 2] * i.n[i.L - 1]
    xi = psi + math.sqrt(eta_max / n)
    delta = xi**2 * len(K) ** 0.25 * n**0.75
    out.conclusion("η_min² − λ_min(J̃J̃ᵀ)", Quantity(eta_min) - value, "O", delta,
                   "ξ² N^(1/4) (nn)^(3/4)", key="shortfall",
                   note="C of eq. 13 at K = 1, K′ = η_max/√(nn)")  # fmt: skip
    out.table("Eq. 13", ("ψ, from below", "η_min", "η_max", "ξ = ψ + η_max/√(nn)", "Δ at C = 1",
              "η_min² − Δ", "λ_min(J̃J̃ᵀ)"), [(psi, math.sqrt(eta_min), math.sqrt(eta_max), xi, delta,
              eta_min - delta, value.value)])  # fmt: skip
    if delta and i.distribution is not None and len(K) <= n:
        _probability(i, c, out, psi, (eta_min - value.value) / delta)


def _probability(i: Instance, c: Centred, out: Findings, psi: float, here: float) -> None:
    """Eq. 14 on fresh data with these weights: how often eq. 13 fails at a C, and the c that it allows."""
    n, N = i.n[i.L - 2] * i.n[i.L - 1], len(c.F)
    prime = 1.2 * math.sqrt(float(c.kernel("full").diagonal().max()) / n)
    found = [_fresh(i, c, X) for X in _fresh_data(i, "proposition-3.3", 20)]
    wide = sum(top >= prime**2 * n for _, _, top in found)
    unit = (psi + prime) ** 2 * N**0.25 * n**0.75
    exponent = math.sqrt(N) * math.log(2 * n / N)
    rows = []
    for share in (0.25, 0.5, 1.0):
        C = share * here
        failed = sum(low < least - C * unit for low, least, _ in found)
        # 1 − e^(−c·exponent) − P(η_max ≥ K′√(nn)) must not exceed the probability: c from its 99% bounds
        event = Event("", failed, len(found))
        excess = event.interval[0] - Event("", wide, len(found)).interval[1]
        most = -math.log(excess) / exponent if excess > 0 else math.inf
        rows.append((C, failed, wide, len(found), most))
    out.table(f"Eq. 14 at K = 1, K′ = {prime:.3g}: √N log(2nn/N) = {exponent:.4g}",
              ("C", "eq. 13 failed", "η_max ≥ K′√(nn)", "draws", "c at most, 99%"), rows)  # fmt: skip


@PAPER.statement(
    "theorem-3.4",
    title="The centred Jacobian is well conditioned",
    section="Theorem 3.4, eq. 15",
    sentence="λ_min(J̃J̃ᵀ) is at least of order n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(\tilde J_{L-2}\tilde J_{L-2}^\top)=\Omega(n_{L-2}n_{L-1})",
    level2="its constant here and over joint redraws; λ_min(J̃J̃ᵀ) ≤ η_min²",
)
def well_conditioned(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    diagonal = Quantity(float(c.kernel("full").diagonal().min()), c.rounding)
    out.at_most("λ_min(J̃J̃ᵀ) ≤ η_min²", c.smallest("full"), diagonal, key="least-row",
                tautology=True)  # fmt: skip
    measured = c.sampled("full")
    out.conclusion("λ_min(J̃J̃ᵀ)", measured, "Ω", size(i), "β_L² n_(L-2) n_(L-1)",
                   key="conditioning")  # fmt: skip
    out.step_order("λ_min(J̃J̃ᵀ)", measured, "Ω", diagonal, "η_min²", key="conditioning-by-row")
    if i.distribution is None:
        out.note("Fresh data need the distribution.")
        return
    found = sorted(_fresh(i, c, X)[0] / size(i) for X in _fresh_data(i, "theorem-3.4", 5))
    out.table("Over fresh data, the same weights", ("", "draws", "least", "median", "largest"),
              [("λ_min(J̃J̃ᵀ)/(β_L² n_(L-2) n_(L-1))", len(found), found[0], found[len(found) // 2],
                found[-1])])  # fmt: skip


def _fresh_data(i: Instance, purpose: str, trials: int) -> Iterator[Tensor]:
    """Independent draws of the data, as many of ``trials`` as cost about a second."""
    law = i.distribution
    assert law is not None
    flops = 10.0 * i.N**3 + 2.0 * i.N**2 * sum(i.n) + 4.0 * i.N * math.prod(i.n[-3:])
    for trial in range(min(trials, i.affordable(flops, 1e10))):
        yield law.sample(i.N, i.generator(f"{purpose} {trial}"))


def _fresh(i: Instance, c: Centred, X: Tensor) -> tuple[float, float, float]:
    """(λ_min(J̃J̃ᵀ), η_min², η_max²) on other data, the same weights and means."""
    with torch.no_grad():
        features, preactivations = i.model.layers(X.to(i.model.dtype))
    alpha = i.network.residual or 1.0
    slope = i.network.activation.derivative(preactivations[i.L - 2])
    F = features[i.L - 2] - c.F_mean
    B = alpha * slope * i.weight(i.L)[:, 0] - c.B_mean
    along = ((F @ c.product_mean) * B).sum(dim=1)
    K = (F @ F.T) * (B @ B.T) - along[:, None] - along[None, :] + c.product_mean_sq
    rows = K.diagonal()
    return float(torch.linalg.eigvalsh((K + K.T) / 2)[0]), float(rows.min()), float(rows.max())
