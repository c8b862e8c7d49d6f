"""Nguyen et al. 2021, §4: the kernel of a network with one wide layer."""

from __future__ import annotations

import math
from typing import Any

import torch

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.features import projected_bound
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity, rounded
from ntkscope.statements.shared import assumptions, chains, scales, tails
from ntkscope.statements.shared.joint import redrawable
from ntkscope.statements.shared.relu import (
    feature_bound,
    natural_scale,
    relu_coefficient,
    schur_sum,
    width_conditions,
)


@PAPER.statement(
    "theorem-4.1",
    title="Smallest eigenvalue at finite width",
    section="Theorem 4.1",
    sentence=(
        "With a layer of order N log² N neurons, λ_min of the empirical NTK is of the order of its "
        "largest layer-wise term."
    ),
    latex=(
        r"\lambda_{\min}(\bar K^{(L)}) \ge \sum_{k=2}^{L} \xi_{k-1}\mu_r(\sigma)^2\,\Omega\Big(d\prod_{l<L} n_l"
        r"\prod_{l\ne k}\beta_l^2\Big) + \lambda_{\min}(XX^\top)\,\Omega\Big(\prod_{l<L} n_l\prod_{l\ge2}\beta_l^2\Big),"
        r"\quad \lambda_{\min}(\bar K^{(L)}) \le \sum_{k=1}^{L} O\Big(d\prod_{l<L} n_l\prod_{l\ne k}\beta_l^2\Big)"
    ),
    level2=(
        "Σ_k λ_min(F_kF_kᵀ) min‖B_{k+1}‖² ≤ λ_min(K) ≤ min_i K_ii (eq. 26, 27); over data and weights the "
        "lower bound with the projection in place of Lemma 5.4, and λ_min(K) ≤ 10 E K_11"
    ),
)
def finite_width(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    wide = [k for k in range(1, i.L) if _is_wide(i, k)]
    full = [k for k in range(1, i.L) if i.n[k] >= i.N]
    value = quantity(i.lambda_K)
    out.at_least("λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²", value, schur_sum(i),
                 tautology=True, key="shared.schur-sum")  # fmt: skip
    diagonal = i.kernel.diagonal()
    out.at_most("λ_min(K) ≤ min_i K_ii", value, diagonal_quantity(i, float(diagonal.min())),
                tautology=True, key="shared.least-diagonal")  # fmt: skip
    for r in (2, 4):
        _lower(i, out, r, full, "ξ_k = 1 where n_k ≥ N")
    upper = sum(scales.kernel(i, k) for k in range(1, i.L + 1))
    out.scaling("λ_min(K), upper bound", value, "O", upper, "Σ_k d Π_{l<L} n_l Π_{l≠k} β_l²",
                key="upper")  # fmt: skip
    smallest = min(range(1, i.L + 1), key=lambda l: i.beta[l])
    if smallest - 1 in full:
        out.scaling("λ_min(K), eq. 25", value, "Θ", scales.kernel(i, smallest),
                    "d Π_{l<L} n_l Π_l β_l² / min_l β_l²", key="tight")  # fmt: skip
    else:
        out.note("Eq. 25 is for a wide layer before the smallest β_l; there is none here.")
    _over_redraws(i, out, full)
    out.note(
        f"Layers with ξ_k = 1 at constant 1: {wide or 'none'}; with n_k ≥ N: {full or 'none'}. "
        "The bounds above count the latter."
    )
    out.note("§1 takes the argmin of β_l over [L−1], §4 over [L]; it is taken over [L] here.")


def _lower(i: Instance, out: Findings, r: int, layers: list[int], which: str) -> None:
    mu_sq = relu_coefficient(r) ** 2
    predicted = sum(mu_sq * scales.kernel(i, k + 1) for k in layers)
    gram = i.lambda_features(0).value
    if gram > 0:
        predicted += gram * scales.kernel(i, 1) / i.d
    name = f"λ_min(K), r = {r}, {which}"
    out.conclusion(name, i.lambda_K, "Ω", predicted, "Σ ξ_(k−1) μ_r² dΠn_lΠβ_l² + λ_min(XXᵀ)…",
                   key="lower", r=r)  # fmt: skip


def _is_wide(i: Instance, k: int) -> bool:
    """Whether eq. 18-19 hold at layer k with constant 1, o(·) read as ≤."""
    scratch = Findings()
    return i.N > 1 and width_conditions(i, scratch, k)


def _over_redraws(i: Instance, out: Findings, full: list[int]) -> None:
    """Eq. 22 with explicit constants at r = 2, and eq. 24 by Markov's inequality."""
    if not redrawable(i) or not i.relu or not i.plain:
        return

    def lower(fresh: Instance) -> bool | None:
        bound = Quantity(0.0)
        for k in full:
            signals = fresh.min_norm_sq(fresh.B(k + 1))
            bound = bound + projected_bound(fresh, k, 2) * signals * (0.25 * fresh.n[k])
        value = quantity(fresh.lambda_K)
        gap, bar = value.value - bound.value, value.error + bound.error
        return None if abs(gap) <= bar else gap > 0

    if full:
        out.event_over("λ_min(K) ≥ Σ_k n_k/4 β_k² μ_2² λ_min((F̃PF̃ᵀ)^2)/max‖f_(k−1)‖² min‖B_(k+1)‖²",
                       i.redraws(), lower, None, key="projected")  # fmt: skip
    law = i.distribution
    ratio = law.moments().norm_sq / i.d if law is not None else math.nan
    terms = sum(scales.kernel(i, k) for k in range(1, i.L + 1))
    mean = ratio * terms * 0.5 ** (i.L - 1)

    def upper(fresh: Instance) -> bool:
        value = quantity(fresh.lambda_K)
        return value.value + value.error <= 10.0 * mean

    out.event_over("λ_min(K) ≤ 10 E K_11", i.redraws(), upper, None, key="markov",
                   note="E K_11 = E‖x‖² Σ_k Π_{l<L} n_l/2 Π_{l≠k} β_l², Markov promises 0.9")  # fmt: skip


def diagonal_quantity(i: Instance, value: float) -> Quantity:
    """An entry of the kernel's diagonal with the rounding of its sums."""
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    return rounded(value, length)


@PAPER.statement(
    "eq-26",
    title="Layer-wise lower bound",
    section="eq. 26 (eq. 24 of the proceedings)",
    sentence=(
        "λ_min of the kernel is at least the sum over layers of λ_min of the features' Gram times "
        "the smallest back-propagated norm."
    ),
    latex=r"\lambda_{\min}(JJ^\top)\ge\sum_{k=0}^{L-1}\lambda_{\min}(F_kF_k^\top)\min_i\|(B_{k+1})_{i:}\|_2^2",
    needs=(needs.plain,),
    level2="the inequality itself, and the same for each term",
)
def layerwise(i: Instance, out: Findings) -> None:
    out.at_least("λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²", i.lambda_K, schur_sum(i),
                 tautology=True, key="shared.schur-sum")  # fmt: skip
    rows = []
    for k in range(i.L):
        scale = i.network.scales[k] ** 2
        bound = i.lambda_features(k) * i.min_norm_sq(i.B(k + 1)) * scale
        term = i.lambda_term(k)
        out.at_least(f"λ_min(K_{k}) ≥ λ_min(F_{k}F_{k}ᵀ) min‖B_{k + 1}‖²", term, bound,
                     tautology=True, key="schur-term", k=k)  # fmt: skip
        share = bound.value / term.value if term.value > 0 else math.nan
        rows.append([k, i.lambda_features(k).value, bound.value, term.value, share])
    out.table("Terms", ("k", "λ_min(F_kF_kᵀ)", "Schur bound", "λ_min(K_k)", "bound/λ_min(K_k)"),
              rows)  # fmt: skip
    total = schur_sum(i).value
    if i.lambda_K.value > 0:
        out.note(f"The sum is {total / i.lambda_K.value:.3g} of λ_min(K).")
    out.note(
        "§4.1 prints (B_L)_i as a row of N entries 1/√N; with one output it is the single entry 1."
    )


@PAPER.statement(
    "eq-27",
    title="Upper bound by one sample",
    section="eq. 27 (eq. 25 of the proceedings)",
    sentence="λ_min of the kernel is at most any diagonal entry, which is a sum over layers.",
    latex=r"\lambda_{\min}(JJ^\top)\le(JJ^\top)_{11}=\sum_{k=0}^{L-1}\|(F_k)_{1:}\|_2^2\,\|(B_{k+1})_{1:}\|_2^2",
    needs=(),
    level2="both sides at x_1, at the best sample and at the mean; K_11 against autograd",
)
def one_sample(i: Instance, out: Findings) -> None:
    value, diagonal = quantity(i.lambda_K), i.kernel.diagonal()
    first = diagonal_quantity(i, float(diagonal[0]))
    out.at_most("λ_min(K) ≤ K_11", value, first, tautology=True, key="shared.first-diagonal")
    out.at_most("λ_min(K) ≤ min_i K_ii", value, diagonal_quantity(i, float(diagonal.min())),
                tautology=True, key="shared.least-diagonal")  # fmt: skip
    out.at_most("min_i K_ii ≤ tr(K)/N", float(diagonal.min()),
                diagonal_quantity(i, float(diagonal.mean())), tautology=True, key="trace")  # fmt: skip
    if i.at_kinks:
        raise NotComputable(
            "a pre-activation is 0 to rounding, where backpropagation is a convention"
        )
    with torch.enable_grad():
        output = i.model(i.X[:1])[0, 0]
        gradients: Any = torch.autograd.grad(output, list(i.model.parameters()))
    by_autograd = float(sum(g.square().sum() for g in gradients))
    bar = first.error * i.L + 8 * sum(i.n) * U * natural_scale(i)
    out.conclude_equal("K_11 = ‖∇f(x_1)‖² by autograd", Quantity(first.value, bar), by_autograd,
                       key="autograd")  # fmt: skip
    if all(v > 0 for v in (value.value, float(diagonal.min()))):
        out.note(f"λ_min(K) is {value.value / float(diagonal.min()):.3g} of the smallest K_ii.")


@PAPER.statement(
    "eq-28",
    title="Size of the features",
    section="eq. 28 (eq. 26 of the proceedings)",
    sentence="The squared norm of the features at layer k is of the order of d Π n_l β_l².",
    latex=r"\|f_k(x_1)\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)",
    level2=(
        "½E‖x‖² Π n_lβ_l²/4 ≤ ‖f_k(x_1)‖² ≤ 3/2 E‖x‖² Π ¾n_lβ_l² over data and weights; ‖f_k(x)‖² ≤ "
        "Π M²‖W_l‖²_op ‖x‖² for every sample"
    ),
)
def features_size(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    for k in range(i.L):
        first = rounded(i.norms_sq(i.F(k))[0], i.n[k] + 1)
        predicted = scales.features(i, k)
        out.scaling(f"‖f_{k}(x_1)‖²", first, "Θ", predicted, f"d Π_(l≤{k}) n_l β_l²",
                    key="features", k=k)  # fmt: skip
        if k:
            feature_bound(i, out, k)
            features_event(i, out, k)
    if i.relu:
        out.note("For ReLU the expected constant is 2^(−k) ‖x_1‖²/d at every width (Lemma C.1).")


def features_event(i: Instance, out: Findings, k: int) -> None:
    """Lemma C.1 and eq. 28 with constants: every layer within half of its mean, and the input too."""
    law = i.distribution
    if law is None or not redrawable(i) or not i.relu or not i.plain:
        return
    size = law.moments().norm_sq * math.prod(
        i.n[l] * i.beta[l] * i.beta[l] for l in range(1, k + 1)
    )
    low, high = size * 0.5 * 0.25**k, size * 1.5 * 0.75**k

    def occurs(fresh: Instance) -> bool:
        return low <= float(fresh.F(k)[0].square().sum()) <= high

    fails = tails.features(law, i.n[1 : k + 1])
    out.event_over(f"‖f_{k}(x_1)‖² within 2^(−{2 * k + 1}) … 3/2 (3/4)^{k} of E‖x‖² Π n_l β_l²",
                   i.redraws(), occurs, None if fails is None else 1.0 - fails, key="features",
                   k=k)  # fmt: skip


@PAPER.statement(
    "lemma-4.3",
    title="Size of the back-propagated signals",
    section="Lemma 4.3",
    sentence="The squared norm of the signal at layer k+1 is of the order of β_L² n_(k+1) Π n_l β_l².",
    latex=(
        r"\Big\|\Sigma_{k+1}(x)\Big(\prod_{l=k+2}^{L-1}W_l\Sigma_l(x)\Big)W_L\Big\|_2^2"
        r"=\Theta\Big(\beta_L^2\,n_{k+1}\prod_{l=k+2}^{L-1}n_l\beta_l^2\Big)"
    ),
    level2=(
        "‖B_k(x)‖ ≤ ‖Σ_k Π W_lΣ_l‖_op ‖W_L‖, and half to three halves of the mean over W_L with "
        "probability 1 − 8‖BᵀB‖_F²/‖B‖_F⁴ (Chebyshev, in place of Hanson-Wright)"
    ),
)
def signals_size(i: Instance, out: Findings) -> None:
    if i.network.residual:
        raise NotComputable("the signals of a residual network are no single product")
    for k in range(1, i.L):
        predicted = i.beta[i.L] ** 2 * scales.chain(i, k, i.L - 1)
        expression = f"β_L² n_{k} Π_(l={k + 1}…L−1) n_l β_l²"
        first = rounded(i.norms_sq(i.B(k))[0], sum(i.n[k:]) + 4)
        out.conclusion(f"‖(B_{k})_1‖²", first, "Θ", predicted, expression, key="size", k=k)
        out.extremes(f"‖(B_{k})_i‖²", i.norms_sq(i.B(k)), "Θ", predicted, expression,
                     concludes=False, k=k)  # fmt: skip
        _signal_rate(i, out, k)


def _signal_rate(i: Instance, out: Findings, k: int) -> None:
    B = chains.sigma_product(i, 0, k, i.L - 1)
    frobenius_sq = float(B.square().sum())
    if frobenius_sq == 0:
        out.note(f"Σ_{k}(x_1)… is 0 at x_1: a dead layer.")
        return
    measured = rounded(i.norms_sq(i.B(k))[0], sum(i.n[k:]) + 4)
    norm = rounded(torch.linalg.matrix_norm(B, 2), 4 * max(B.shape))
    W_L = i.weight(i.L)[:, 0]
    length = sum(i.n[k:]) + 4
    bound = (norm * rounded(W_L.norm(), i.n[-2])) ** 2
    out.at_most(
        f"‖(B_{k})_1‖² ≤ ‖Σ_{k} Π W_lΣ_l‖²_op ‖W_L‖²",
        Quantity(
            measured.value, measured.error + length * U * frobenius_sq * float(W_L.square().sum())
        ),
        bound,
        tautology=True,
        key="product",
        k=k,
    )
    draws = chains.gaussian_like(i, i.L, (i.n[i.L - 1], i.trials), f"W_L for layer {k}")
    sizes = (B @ draws).square().sum(dim=0)
    mean = i.beta[i.L] ** 2 * frobenius_sq
    successes = int(((sizes >= 0.5 * mean) & (sizes <= 1.5 * mean)).sum())
    failure = 8 * float((B.T @ B).square().sum()) / frobenius_sq**2
    out.event(f"½ ≤ ‖B_{k}‖²/E ≤ 3/2 at x_1", successes, i.trials, 1 - failure, over="W_L",
              key="chebyshev", k=k)  # fmt: skip
