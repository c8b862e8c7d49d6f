"""Nguyen et al. 2021, §5: the smallest singular value of the features."""

from __future__ import annotations

import math

import torch

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.centring import POWERS, projected_lambda
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, rounded
from ntkscope.statements.shared import assumptions, chains, chernoff, scales
from ntkscope.statements.shared.expected import expected_gram
from ntkscope.statements.shared.joint import redrawable
from ntkscope.statements.shared.relu import power_over_rows, relu_coefficient, width_conditions


@PAPER.statement(
    "theorem-5.1",
    title="Smallest singular value of the features",
    section="Theorem 5.1",
    sentence="At a wide layer σ_min(F_k)² is of the order of d Π n_l β_l².",
    latex=(
        r"O\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)\ge\sigma_{\min}(F_k)^2\ge"
        r"\mu_r(\sigma)^2\,\Omega\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)"
    ),
    level2=(
        "with the projection in place of Lemma 5.4: λ(E φφᵀ) ≥ β_k² μ_r² λ_min((F̃PF̃ᵀ)^{∘r})/max‖f_{k-1}‖^{2(r-1)}, "
        "and σ_min(F_k)² ≥ n_k/4 times that over data and weights; λ_min(F_kF_kᵀ) ≤ min_i ‖(F_k)_i‖²"
    ),
)
def feature_matrix(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    wide = [k for k in range(1, i.L) if i.n[k] >= i.N]
    widest = max(i.n[1 : i.L])
    out.hypothesis("n_k ≥ N at some layer k < L, which the width condition implies", bool(wide),
                   widest, i.N)  # fmt: skip
    for k in wide or range(1, i.L):
        width_conditions(i, out, k)
    for k in wide:
        value = i.lambda_features(k)
        smallest_row = i.min_norm_sq(i.F(k))
        out.at_most(f"λ_min(F_{k}F_{k}ᵀ) ≤ min_i ‖(F_{k})_i‖²", value, smallest_row,
                    tautology=True, key="smallest-row", k=k)  # fmt: skip
        size = scales.features(i, k)
        expression = f"d Π_(l≤{k}) n_l β_l²"
        out.scaling(f"σ_min(F_{k})²", value, "O", size, expression, key="upper", k=k)
        _projected_chain(i, out, k)
        for r in (2, 4):
            bound = relu_coefficient(r) ** 2 * size
            out.scaling(f"σ_min(F_{k})², r = {r}", value, "Ω", bound, f"μ_{r}² {expression}",
                        key="lower", k=k, r=r)  # fmt: skip
    out.note(
        "The theorem takes any integer r > 0, but μ_r(ReLU) = 0 for odd r ≥ 3: the bound is then "
        "empty, and eq. 8 is for even r ≥ 2."
    )


def projected_bound(i: Instance, k: int, r: int) -> Quantity:
    """β_k² μ_r² λ_min((F̃_{k-1}PF̃_{k-1}ᵀ)^{∘r})/max‖f_{k-1}‖^{2(r-1)}, what survives of App. E."""
    rows = i.norms_sq(i.F(k - 1)[i.rows])
    largest = rounded(rows.max(), i.n[k - 1] + 1)
    if largest.value == 0:
        return Quantity(0.0)
    factor = rounded(relu_coefficient(r) ** 2 * i.beta[k] * i.beta[k], 16)
    power = projected_lambda(i, k - 1, r) * factor
    for _ in range(r - 1):
        power = power / largest
    return power


def _projected_chain(i: Instance, out: Findings, k: int) -> None:
    if not i.relu or not i.plain:
        return
    for r in (2, 4):
        if len(i.rows) == i.N:
            out.at_least(
                f"λ(E φ(F_{k - 1}w)φ(F_{k - 1}w)ᵀ) ≥ β² μ_{r}² λ_min((F̃PF̃ᵀ)^{r})/max",
                expected_lambda(i, k), projected_bound(i, k, r), key="projected", k=k, r=r,
            )  # fmt: skip
    if not redrawable(i):
        return

    def occurs(fresh: Instance) -> bool | None:
        left, right = fresh.lambda_features(k), projected_bound(fresh, k, 2) * (0.25 * fresh.n[k])
        gap, bar = left.value - right.value, left.error + right.error
        return None if abs(gap) <= bar else gap > 0

    out.event_over(f"σ_min(F_{k})² ≥ n_{k}/4 β² μ_2² λ_min((F̃PF̃ᵀ)^2)/max‖f_{k - 1}‖²", i.redraws(),
                   occurs, None, key="projected", k=k)  # fmt: skip


@PAPER.statement(
    "lemma-5.2",
    title="From the expected Gram to the features",
    section="Lemma 5.2 and App. E.1",
    sentence="With probability 1 − δ over W_k, σ_min(F_k)² ≥ n_k λ/4, λ that of the expected Gram.",
    latex=(
        r"\sigma_{\min}(F_k)^2\ge\frac{n_k\lambda}{4},\quad\lambda=\lambda_{\min}\big("
        r"\mathbb E_{w\sim N(0,\beta_k^2 I)}[\sigma(F_{k-1}w)\sigma(F_{k-1}w)^\top]\big),\quad "
        r"n_k\ge\max\Big(N,\,cQ\max(1,\log 4Q)\log\tfrac N\delta\Big),\ Q=\frac{\beta_k^2\|F_{k-1}\|_F^2}{\lambda}"
    ),
    needs=(needs.plain, needs.gaussian),
    level2=(
        "matrix Chernoff with its constant: P(λ_min(F_kF_kᵀ) < n_kλ/4) ≤ "
        "min_t N·0.8578^(n_kλ̂(t)/t²), run over redraws of W_k"
    ),
)
def expected_to_sampled(i: Instance, out: Findings) -> None:
    if not i.plain:
        raise NotComputable("the features are no φ(F_{k-1} W_k)")
    widest = max(i.n[1 : i.L])
    out.hypothesis("n_k ≥ N at some layer", widest >= i.N, widest, i.N)
    for k in range(1, i.L):
        lam = expected_lambda(i, k)
        if lam.value <= lam.error:
            out.note(f"λ of layer {k} is 0 to rounding ({lam.value:.2g}): the bound is empty.")
            continue
        if i.n[k] < i.N:
            out.note(f"n_{k} = {i.n[k]} < N: the lemma does not apply to layer {k}.")
            continue
        Q = i.beta[k] ** 2 * float(i.F(k - 1).square().sum()) / lam.value
        needed = Q * max(1.0, math.log(4 * Q)) * math.log(i.N / i.delta)
        out.order_of(f"n_{k} ≥ c Q max(1, log 4Q) log(N/δ)", i.n[k], needed, at_least=True)
        tail = chernoff.Tail(i.F(k - 1), i.beta[k], lam.value, i.network.activation)
        failure = tail.failure(i.n[k])
        sufficient = tail.sufficient_width(i.delta)
        out.note(
            f"Layer {k}: with explicit constants {sufficient:.3g} neurons suffice for δ = {i.delta:g}; "
            f"n_{k} = {i.n[k]} is promised success with probability {1 - failure:.3g}."
        )
        trials = max(3, min(i.trials, int(2e9 // (i.N**3 + i.N**2 * i.n[k]))))
        successes = _successes(i, k, 0.25 * i.n[k] * lam.value, trials)
        out.event(f"σ_min(F_{k})² ≥ n_{k} λ/4", successes, trials, 1 - failure, over=f"W_{k}",
                  key="chernoff", k=k)  # fmt: skip
        out.step_order(f"σ_min(F_{k})²", i.lambda_features(k), "Ω", 0.25 * i.n[k] * lam.value,
                       f"n_{k} λ/4", key="size", k=k)  # fmt: skip
    out.note(
        "App. E.1 multiplies the probabilities of dependent events; the tail used here is that of "
        "Gaussian concentration instead."
    )


def expected_lambda(i: Instance, k: int) -> Quantity:
    """λ = λ_min(E_w[φ(F_{k-1}w)φ(F_{k-1}w)ᵀ]), w ~ N(0, β_k² I)."""

    def make() -> Quantity:
        gram, forming = expected_gram(i, k)
        found = power_eigenvalue(gram, 1, 0)
        return Quantity(found.value, found.error + forming)

    return i.held(("λ expected", k), make)


def _successes(i: Instance, k: int, threshold: float, trials: int) -> int:
    """Redraws of W_k whose features have λ_min of at least ``threshold``."""
    count = 0
    for trial in range(trials):
        W = chains.gaussian_like(i, k, (i.n[k - 1], i.n[k]), f"W_{k} trial {trial}")
        features = i.network.activation(i.F(k - 1) @ W)
        gram = features @ features.T
        gram.diagonal().sub_(threshold)
        # λ_min ≥ threshold exactly when the shifted matrix is positive semidefinite
        count += int(torch.linalg.cholesky_ex(gram).info == 0)
    return count


@PAPER.statement(
    "lemma-5.3",
    title="From the expected Gram to Khatri-Rao powers",
    section="Lemma 5.3",
    sentence="λ of the expected Gram is at least β² μ_r² times that of the r-th Khatri-Rao power, scaled.",
    latex=(
        r"\lambda_{\min}\big(\mathbb E_{w\sim N(0,\beta_{k+1}^2I)}[\sigma(F_kw)\sigma(F_kw)^\top]\big)\ge"
        r"\beta_{k+1}^2\mu_r(\sigma)^2\frac{\lambda_{\min}((F_k^{*r})(F_k^{*r})^\top)}{\max_i\|(F_k)_{i:}\|_2^{2(r-1)}}"
    ),
    needs=(needs.relu,),
    level2="the inequality itself for k = 0 … L−2 and r = 1, 2, 4, 6",
)
def hermite_step(i: Instance, out: Findings) -> None:
    if not i.relu:
        raise NotComputable("its Hermite step uses the homogeneity of ReLU; see nguyen2021.ladder")
    for k in range(i.L - 1):
        expected = expected_lambda(i, k + 1)
        largest_row = i.max_norm_sq(i.F(k))
        if largest_row.value == 0:
            continue
        for r in POWERS:
            if r == 1:
                power = i.lambda_features(k)
            else:
                power = power_over_rows(i.gram(k), r, i.n[k], largest_row)
            bound = power * (i.beta[k + 1] * i.beta[k + 1] * relu_coefficient(r) ** 2)
            out.conclude_at_least(f"λ(E φ(F_{k}w)φ(F_{k}w)ᵀ) ≥ β² μ_{r}² λ_min(F_{k}^(*{r})…)/max", expected,
                         bound, key="hermite", k=k, r=r)  # fmt: skip
    out.note("For odd r ≥ 3 μ_r(ReLU) = 0 and the right side is 0.")
