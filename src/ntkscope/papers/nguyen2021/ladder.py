"""Nguyen et al. 2021, after Theorem 4.1: more terms, more r.

The theorems keep one layer and one Hermite coefficient, and leave the rest as a problem. The
ladder takes all of them: with C the covariance of the pre-activations of a layer and a_i = C_ii,

    E φφᵀ = Σ_r D_r R^{∘r} D_r,   D_r = diag(μ_r^{[a_i]}),   R_ij = C_ij/√(a_i a_j),

where μ_r^{[a]} = E φ(√a z) h_r(z); so λ_min(E φφᵀ) ≥ Σ_r λ_min(D_r R^{∘r} D_r) (Weyl), and each term
is at least min_i (μ_r^{[a_i]})² λ_min(R^{∘r}) (Ostrowski).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.features import expected_lambda
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import gram_eigenvalue, power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity
from ntkscope.statements.shared.relu import schur_sum

ORDERS = 13  # r = 0 … 12


@PAPER.statement(
    "ladder",
    title="More terms, more r",
    section="§4 after Theorem 4.1",
    sentence="All layers and all Hermite coefficients give a lower bound at least as large as any single (k, r).",
    latex=(
        r"\lambda_{\min}(\mathbb E\varphi\varphi^\top)\ge\sum_r\lambda_{\min}(D_rR^{\circ r}D_r)"
        r"\ge\sum_r\min_i(\mu_r^{[a_i]})^2\lambda_{\min}(R^{\circ r})"
    ),
    needs=(needs.plain,),
    level2="E φφᵀ ⪰ Σ_{r≤12} D_rR^{∘r}D_r in λ_min, each rung, and the sum over layers against λ_min(K)",
)
def ladder(i: Instance, out: Findings) -> None:
    if not i.plain:
        raise NotComputable("the features are no φ(F_{k-1} W_k)")
    rows, kept = [], []
    for k in range(1, i.L):
        expected = expected_lambda(i, k)
        rungs = _rungs(i, k)
        total, coarse = Quantity(0.0), Quantity(0.0)
        for r, (fine, plain) in enumerate(rungs):
            total, coarse = total + fine, coarse + plain
            if plain.value > 0:
                out.at_least(f"λ_min(D_{r}R^{r}D_{r}) ≥ min μ_{r}² λ_min(R^{r}), layer {k}", fine,
                             plain, tautology=True, key="ostrowski", k=k, r=r)  # fmt: skip
        out.conclude_at_least(f"λ_min(E φφᵀ) ≥ Σ_(r≤{ORDERS - 1}) λ_min(D_rR^rD_r), layer {k}",
                              expected, total, key="weyl", k=k)  # fmt: skip
        best = max(range(len(rungs)), key=lambda r: rungs[r][1].value)
        single = rungs[best][1].value
        kept.append((k, best, single, total.value))
        if expected.value > expected.error:
            rows.append(
                [k, expected.value, total.value / expected.value, coarse.value / expected.value,
                 best, single / expected.value]
            )  # fmt: skip
    out.table("Share of λ_min(E φφᵀ) that is kept",
              ("layer", "λ_min(E φφᵀ)", "Σ_r λ(D_rR^rD_r)", "Σ_r min μ_r² λ(R^r)", "best r", "single r"),
              rows)  # fmt: skip
    _layers(i, out)
    _single(i, out, kept)


def _rungs(i: Instance, k: int) -> list[tuple[Quantity, Quantity]]:
    """(λ_min(D_r R^r D_r), min μ_r² λ_min(R^r)) for r = 0 … 12 at layer k."""
    covariance = i.gram(k - 1) * i.beta[k] ** 2
    variance = covariance.diagonal()
    if bool((variance == 0).any()):
        raise NotComputable(f"a sample has no features at layer {k - 1}")
    found = hermite_coefficients(i.network.activation, ORDERS - 1, variance)
    roots = torch.sqrt(variance)
    R = covariance / (roots[:, None] * roots[None, :])
    R.fill_diagonal_(1.0)
    rungs = []
    power = torch.ones_like(R)
    for r in range(ORDERS):
        mu = found.values[:, r]
        rungs.append(_rung(i, k, r, power, mu, found.error))
        power = power * R
    return rungs


def _rung(
    i: Instance, k: int, r: int, power: Tensor, mu: Tensor, error: float
) -> tuple[Quantity, Quantity]:
    inner = i.n[k - 1]
    scaled = mu[:, None] * power * mu[None, :]
    size = float(mu.abs().max()) + error
    noise = len(mu) * (2 * error * size + (r * (inner + 6) + 4) * U * size**2)
    if r == 0:
        fine = Quantity(0.0) if len(mu) > 1 else Quantity(float(mu[0] ** 2), noise)
        return fine, fine
    if float(mu.abs().max()) <= error:  # nothing to be told from 0, as at odd r ≥ 3 for ReLU
        return Quantity(0.0, size**2), Quantity(0.0)
    found = power_eigenvalue(scaled, 1, 0)
    low = max(0.0, float(mu.abs().min()) - error) ** 2
    least = power_eigenvalue(power, 1, 0) if low > 0 else Quantity(0.0)
    least = Quantity(least.value, least.error + len(mu) * r * (inner + 6) * U)
    if found.value < 0:
        # positive semidefinite by construction: what rounding took below 0 is an error of 0
        found = Quantity(0.0, found.error - found.value)
    return Quantity(found.value, found.error + noise), least * low


def _layers(i: Instance, out: Findings) -> None:
    """The same over layers: what each term of eq. 26 gives of λ_min(K), and their sum."""
    total = schur_sum(i)
    value = quantity(i.lambda_K)
    out.at_least("λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²", value, total,
                 tautology=True, key="shared.schur-sum")  # fmt: skip
    rows, parts = [], []
    for k in range(i.L):
        features = i.lambda_features(k) * i.min_norm_sq(i.B(k + 1)) * i.network.scales[k] ** 2
        signals = _signal_side(i, k)
        parts.append(max((features, signals), key=lambda q: q.value))
        share = [
            q.value / value.value if value.value > 0 else math.nan for q in (features, signals)
        ]
        rows.append([k, features.value, signals.value, *share])
    better = sum(parts, Quantity(0.0))
    out.at_least("λ_min(K) ≥ Σ_k max(features' side, signals' side)", value, better,
                 tautology=True, key="either-side")  # fmt: skip
    out.table("Schur's bound on each term, from either factor",
              ("k", "λ(FFᵀ)min‖B‖²", "λ(BBᵀ)min‖F‖²", "share", "share"), rows)  # fmt: skip


def _single(i: Instance, out: Findings, kept: list[tuple[int, int, float, float]]) -> None:
    """What Theorem 4.1's one layer k and one r keep of λ_min(K), and all r of that layer."""
    value = i.lambda_K.value
    if value <= 0:
        return
    rows = []
    for k, r, single, every in kept:
        gain = i.n[k] * i.min_norm_sq(i.B(k + 1)).value * i.network.scales[k] ** 2 / value
        rows.append([k, r, gain * single, gain * every])
    out.table("Share of λ_min(K) that a single (k, r) keeps, n_k E φφᵀ in place of F_kF_kᵀ",
              ("k", "best r", "that r", "all r"), rows)  # fmt: skip


def _signal_side(i: Instance, k: int) -> Quantity:
    """λ_min(B_{k+1}B_{k+1}ᵀ) min‖F_k‖², Schur's bound with the factors exchanged."""
    signals = quantity(gram_eigenvalue(i.B(k + 1).contiguous(), f"B_{k + 1}"))
    return signals * i.min_norm_sq(i.F(k)) * i.network.scales[k] ** 2
