"""Nguyen et al. 2021, §4: the kernel of a network with one wide layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity, rounded
from ntkscope.statements.shared import assumptions, chains, scales
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
    level2="Σ_k λ_min(F_kF_kᵀ) min‖B_{k+1}‖² ≤ λ_min(K) ≤ min_i K_ii (eq. 26, 27)",
)
def finite_width(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    wide = [k for k in range(1, i.L) if width_conditions(i, out, k)]
    full = [k for k in range(1, i.L) if i.n[k] >= i.N]
    value = quantity(i.lambda_K)
    out.at_least("λ_min(K) ≥ Σ_k λ_min(F_kF_kᵀ) min‖B_(k+1)‖²", value, schur_sum(i),
                 key="shared.schur-sum")  # fmt: skip
    diagonal = i.kernel.diagonal()
    out.at_most("λ_min(K) ≤ min_i K_ii", value, diagonal_quantity(i, float(diagonal.min())),
                key="shared.least-diagonal")  # fmt: skip
    for r in (2, 4):
        _lower(i, out, r, wide, "ξ with constant 1 in eq. 18")
        _lower(i, out, r, full, "ξ_k = 1 where n_k ≥ N")
    upper = sum(scales.kernel(i, k) for k in range(1, i.L + 1))
    out.scaling("λ_min(K), upper bound", value, "O", upper, "Σ_k d Π_{l<L} n_l Π_{l≠k} β_l²",
                key="upper")  # fmt: skip
    tight = scales.kernel(i, min(range(1, i.L + 1), key=lambda l: i.beta[l]))
    out.scaling("λ_min(K), eq. 25", value, "Θ", tight, "d Π_{l<L} n_l Π_l β_l² / min_l β_l²",
                note="the two bounds meet where the layer before the smallest β_l is wide",
                key="tight")  # fmt: skip
    out.note(
        f"Layers with ξ_k = 1 at constant 1: {wide or 'none'}; with n_k ≥ N: {full or 'none'}."
    )
    out.note("§1 takes the argmin of β_l over [L−1], §4 over [L]; it is taken over [L] here.")


def _lower(i: Instance, out: Findings, r: int, layers: list[int], which: str) -> None:
    mu_sq = relu_coefficient(r) ** 2
    predicted = sum(mu_sq * scales.kernel(i, k + 1) for k in layers)
    gram = i.lambda_features(0).value
    if gram > 0:
        predicted += gram * scales.kernel(i, 1) / i.d
    name = f"λ_min(K), lower bound, r = {r}, {which}"
    if predicted:
        out.scaling(name, i.lambda_K, "Ω", predicted, "Σ ξ_(k−1) μ_r² dΠn_lΠβ_l² + λ_min(XXᵀ)…",
                    key="lower", r=r, layers=which)  # fmt: skip
    else:
        out.note(f"The lower bound is empty ({which}): no layer is wide and XXᵀ is singular.")


def diagonal_quantity(i: Instance, value: float) -> Quantity:
    """An entry of the kernel's diagonal with the rounding of its sums."""
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    return rounded(value, length)


@PAPER.statement(
    "corollary-4.2",
    title="Memorization capacity",
    section="Corollary 4.2 and App. D.1",
    sentence="A network of twice the hidden widths fits any labels to any accuracy.",
    latex=r"\forall Y,\ \forall\varepsilon>0,\ \exists\theta:\ \|F_L(\theta)-Y\|_2\le\varepsilon",
    level2="‖θ′‖² = YᵀK⁻¹Y ≤ ‖Y‖²/λ_min(K), and ‖h_ε − Y‖ ≤ 10⁻³‖Y‖ for the doubled network h_ε",
)
def memorization(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    lam = i.lambda_K
    full_rank = lam.status.trustworthy
    out.hypothesis("rank J = N (λ_min(K) > 0)", full_rank or None, lam.value, 0.0,
                   lam.status.advice)  # fmt: skip
    kinks = i.kernel.near_kinks
    out.hypothesis("g_lj(x_i) ≠ 0 at θ_0, so that J is the Jacobian", kinks == 0, kinks, 0)
    if kinks:
        raise NotComputable("θ_0 lies on a kink, where h_ε has no limit")
    if not full_rank:
        raise NotComputable("the Jacobian is not of full rank, as far as float64 can tell")
    Y = torch.randn(i.N, generator=i.generator("labels"), dtype=torch.float64)
    v = torch.cholesky_solve(Y[:, None], torch.linalg.cholesky(i.K))[:, 0]
    size = float(Y @ v)
    largest_eigenvalue = float(torch.linalg.matrix_norm(i.K, 2))
    condition = largest_eigenvalue / lam.value
    bar = 8 * i.N * U * condition * abs(size)
    out.at_most("‖θ′‖² = YᵀK⁻¹Y ≤ ‖Y‖²/λ_min(K)", Quantity(size, bar),
                rounded(Y.square().sum(), i.N) / quantity(lam), key="norm-bound")  # fmt: skip
    errors = _doubled_errors(i, Y, v)
    out.table("h_ε against Y", ("ε", "‖h_ε − Y‖/‖Y‖", "iterated"), errors)
    best = min(min(e[1], e[2]) for e in errors)
    if condition < 1e8:
        out.at_most("min_ε ‖h_ε − Y‖/‖Y‖ ≤ 10⁻³", best, 1e-3, key="distance")
    out.note(f"Best ‖h_ε − Y‖/‖Y‖ = {best:.2g}, condition number {condition:.2g}.")


def _doubled_errors(i: Instance, Y: Tensor, v: Tensor) -> list[list[float]]:
    """(ε, ‖h_ε − Y‖/‖Y‖ for θ′ = JᵀK⁻¹Y, the same after θ′ ← θ′ + JᵀK⁻¹(Y − h_ε))."""
    parameters = {name: p.detach() for name, p in i.model.named_parameters()}
    base = i.G(i.L)[:, 0]
    factor = torch.linalg.cholesky(i.K)
    direction = _pull_back(i, v)
    size = float(sum(t.square().sum() for t in direction.values())) ** 0.5
    weight = float(sum(p.square().sum() for p in parameters.values())) ** 0.5
    rows = []
    for relative in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        eps = relative * weight / size

        def h(theta: dict[str, Tensor], eps: float = eps) -> Tensor:
            moved = {name: p + eps * theta[name] for name, p in parameters.items()}
            return (torch.func.functional_call(i.model, moved, (i.X,))[:, 0] - base) / eps

        with torch.no_grad():
            residual = Y - h(direction)
        first = float(residual.norm() / Y.norm())
        theta, best = direction, first
        for _ in range(8):
            step = _pull_back(i, torch.cholesky_solve(residual[:, None], factor)[:, 0])
            theta = {name: theta[name] + step[name] for name in theta}
            with torch.no_grad():
                residual = Y - h(theta)
            best = min(best, float(residual.norm() / Y.norm()))
        rows.append([eps, first, best])
    return rows


def _pull_back(i: Instance, v: Tensor) -> dict[str, Tensor]:
    """Jᵀv as a dictionary of parameters."""
    with torch.enable_grad():
        names, tensors = zip(*i.model.named_parameters(), strict=True)
        total = (i.model(i.X)[:, 0] * v).sum()
        gradients = torch.autograd.grad(total, list(tensors))
    return dict(zip(names, gradients, strict=True))


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
                 key="shared.schur-sum")  # fmt: skip
    rows = []
    for k in range(i.L):
        scale = i.network.scales[k] ** 2
        bound = i.lambda_features(k) * i.min_norm_sq(i.B(k + 1)) * scale
        term = i.lambda_term(k)
        out.at_least(f"λ_min(K_{k}) ≥ λ_min(F_{k}F_{k}ᵀ) min‖B_{k + 1}‖²", term, bound,
                     key="schur-term", k=k)  # fmt: skip
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
    out.at_most("λ_min(K) ≤ K_11", value, first, key="shared.first-diagonal")
    out.at_most("λ_min(K) ≤ min_i K_ii", value, diagonal_quantity(i, float(diagonal.min())),
                key="shared.least-diagonal")  # fmt: skip
    out.at_most("min_i K_ii ≤ tr(K)/N", float(diagonal.min()),
                diagonal_quantity(i, float(diagonal.mean())), key="trace")  # fmt: skip
    if i.at_kinks:
        raise NotComputable(
            "a pre-activation is 0 to rounding, where backpropagation is a convention"
        )
    with torch.enable_grad():
        output = i.model(i.X[:1])[0, 0]
        gradients: Any = torch.autograd.grad(output, list(i.model.parameters()))
    by_autograd = float(sum(g.square().sum() for g in gradients))
    bar = first.error * i.L + 8 * sum(i.n) * U * natural_scale(i)
    out.equal("K_11 = ‖∇f(x_1)‖² by autograd", Quantity(first.value, bar), by_autograd,
              key="autograd")  # fmt: skip
    if all(v > 0 for v in (value.value, float(diagonal.min()))):
        out.note(f"λ_min(K) is {value.value / float(diagonal.min()):.3g} of the smallest K_ii.")


@PAPER.statement(
    "eq-28",
    title="Size of the features",
    section="eq. 28 (eq. 26 of the proceedings)",
    sentence="The squared norm of the features at layer k is of the order of d Π n_l β_l².",
    latex=r"\|f_k(x_1)\|_2^2=\Theta\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)",
    level2="‖f_k(x)‖² ≤ Π_{l≤k} M²‖W_l‖²_op ‖x‖² for every sample (M the Lipschitz constant of φ, φ(0) = 0)",
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
    if i.relu:
        out.note("For ReLU the expected constant is 2^(−k) ‖x_1‖²/d at every width (Lemma C.1).")


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
        out.extremes(f"‖(B_{k})_i‖²", i.norms_sq(i.B(k)), "Θ", predicted, expression, k=k)
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
        key="product",
        k=k,
    )
    draws = chains.gaussian_like(i, i.L, (i.n[i.L - 1], i.trials), f"W_L for layer {k}")
    sizes = (B @ draws).square().sum(dim=0)
    mean = i.beta[i.L] ** 2 * frobenius_sq
    successes = int(((sizes >= 0.5 * mean) & (sizes <= 1.5 * mean)).sum())
    failure = 8 * float((B.T @ B).square().sum()) / frobenius_sq**2
    out.rate(f"½ ≤ ‖B_{k}‖²/E ≤ 3/2 over W_L at x_1", successes, i.trials, max(0.0, 1 - failure))
