"""Nguyen et al. 2021, §5: the smallest singular value of the features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import assumptions, chains, chernoff, scales
from ntkscope.statements.shared.expected import expected_gram
from ntkscope.statements.shared.relu import relu_coefficient, width_conditions

POWERS = (1, 2, 4, 6)


@PAPER.statement(
    "theorem-5.1",
    title="Smallest singular value of the features",
    section="Theorem 5.1",
    sentence="At a wide layer σ_min(F_k)² is of the order of d Π n_l β_l².",
    latex=(
        r"O\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)\ge\sigma_{\min}(F_k)^2\ge"
        r"\mu_r(\sigma)^2\,\Omega\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)"
    ),
    level2="λ_min(F_kF_kᵀ) ≤ min_i ‖(F_k)_i‖², and 0 where n_k < N",
)
def feature_matrix(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    for k in range(1, i.L):
        width_conditions(i, out, k)
        value = i.lambda_features(k)
        smallest_row = i.min_norm_sq(i.F(k))
        out.at_most(f"λ_min(F_{k}F_{k}ᵀ) ≤ min_i ‖(F_{k})_i‖²", value, smallest_row,
                    key="smallest-row", k=k)  # fmt: skip
        size = scales.features(i, k)
        expression = f"d Π_(l≤{k}) n_l β_l²"
        out.scaling(f"σ_min(F_{k})²", value, "O", size, expression, key="upper", k=k)
        if i.n[k] < i.N:
            out.note(
                f"n_{k} = {i.n[k]} < N = {i.N}: F_{k} has rank {i.n[k]} at most, so σ_min = 0."
            )
            continue
        for r in (2, 4):
            bound = relu_coefficient(r) ** 2 * size
            out.scaling(f"σ_min(F_{k})², r = {r}", value, "Ω", bound, f"μ_{r}² {expression}",
                        key="lower", k=k, r=r)  # fmt: skip
    out.note(
        "The theorem takes any integer r > 0, but μ_r(ReLU) = 0 for odd r ≥ 3: the bound is then "
        "empty, and eq. 8 is for even r ≥ 2."
    )


@PAPER.statement(
    "lemma-5.2",
    title="From the expected Gram to the features",
    section="Lemma 5.2 and App. E.1",
    sentence="With probability 1 − δ over W_k, σ_min(F_k)² ≥ n_k λ/4, λ that of the expected Gram.",
    latex=(
        r"\sigma_{\min}(F_k)^2\ge\frac{n_k\lambda}{4},\quad\lambda=\lambda_{\min}\big("
        r"\mathbb E_{w\sim N(0,\beta_k^2 I)}[\sigma(F_{k-1}w)\sigma(F_{k-1}w)^\top]\big),\quad"
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
            out.note(f"n_{k} = {i.n[k]} < N: F_{k} is singular and the lemma does not speak of it.")
            continue
        Q = i.beta[k] ** 2 * float(i.F(k - 1).square().sum()) / lam.value
        needed = Q * max(1.0, math.log(4 * Q)) * math.log(i.N / i.delta)
        out.order_of(f"n_{k} ≥ c Q max(1, log 4Q) log(N/δ)", i.n[k], needed, at_least=True)
        tail = chernoff.Tail(i.F(k - 1), i.beta[k], lam.value, i.network.activation)
        failure = tail.failure(i.n[k])
        sufficient = tail.sufficient_width(i.delta)
        out.note(
            f"Layer {k}: with explicit constants {sufficient:.3g} neurons suffice for δ = {i.delta:g}; "
            f"n_{k} = {i.n[k]} is promised success with probability {max(0.0, 1 - failure):.3g}."
        )
        trials = max(3, min(i.trials, int(2e9 // (i.N**3 + i.N**2 * i.n[k]))))
        successes = _successes(i, k, 0.25 * i.n[k] * lam.value, trials)
        out.rate(f"σ_min(F_{k})² ≥ n_{k} λ/4 over W_{k}", successes, trials, max(0.0, 1 - failure))
        out.scaling(f"σ_min(F_{k})²", i.lambda_features(k), "Ω", 0.25 * i.n[k] * lam.value,
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
            power = i.lambda_power(k, r) / largest_row ** (r - 1)
            bound = power * (i.beta[k + 1] ** 2 * relu_coefficient(r) ** 2)
            out.at_least(f"λ(E φ(F_{k}w)φ(F_{k}w)ᵀ) ≥ β² μ_{r}² λ_min(F_{k}^(*{r})…)/max", expected,
                         bound, key="hermite", k=k, r=r)  # fmt: skip
    out.note("For odd r ≥ 3 μ_r(ReLU) = 0 and the right side is 0.")


@PAPER.statement(
    "lemma-5.4",
    title="Centring the features",
    section="Lemma 5.4 and App. E.3",
    sentence="Centring does not increase the Gram of a Khatri-Rao power (does not hold as printed).",
    latex=r"(F_k^{*r})(F_k^{*r})^\top\succeq(\tilde F_k^{*r})(\tilde F_k^{*r})^\top",
    level2=(
        "as printed, r = 1…4, and its consequence for λ_min (both errata); the identity "
        "λ_min(AAᵀ − ÃÃᵀ) = Σv − √N‖v‖ ≤ 0 for r = 1, which holds"
    ),
)
def centring(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    for k in range(1, i.L):
        mean, exact = i.mean_features(k)
        out.note(f"E_x f_{k}(x) is {'in closed form' if exact else 'sampled'}.")
        A, centred = i.F(k)[i.rows], i.centred(k)
        offsets = A @ mean - float(mean.square().sum())
        threshold = -0.5 * float(mean.square().sum())
        out.hypothesis(f"min_i Λ_ii ≥ −‖μ‖²/2 at layer {k} (the proof's condition)",
                       bool(offsets.min() >= threshold), float(offsets.min()), threshold)  # fmt: skip
        for r in (1, 2, 3, 4):
            _loewner(i, out, k, r, A, centred)
        _rank_two(out, k, A, centred, offsets - threshold)


def _loewner(i: Instance, out: Findings, k: int, r: int, A: Tensor, centred: Tensor) -> None:
    full, reduced = (A @ A.T) ** r, (centred @ centred.T) ** r
    forming = r * (i.n[k] + 4) * U * float((full + reduced).diagonal().sum())
    eigenvalues, vectors = torch.linalg.eigh(full - reduced)
    bar = forming + len(full) * U * float(eigenvalues.abs().max())
    spread = _centring_spread(i, k, r, centred, vectors[:, 0])
    name = f"F_{k}, r = {r}"
    out.at_least(f"λ_min(FFᵀ − F̃F̃ᵀ) ≥ 0, {name}", Quantity(float(eigenvalues[0]), bar, spread),
                 0.0, erratum=True, key="difference", k=k, r=r)  # fmt: skip
    left, right = (
        power_eigenvalue(A @ A.T, r, i.n[k]),
        power_eigenvalue(centred @ centred.T, r, i.n[k]),
    )
    lowest = torch.linalg.eigh(reduced)[1][:, 0]
    spread = _centring_spread(i, k, r, centred, lowest)
    out.at_least(f"λ_min(FFᵀ) ≥ λ_min(F̃F̃ᵀ), {name}", left,
                 Quantity(right.value, right.error, spread), erratum=True, key="eigenvalues", k=k,
                 r=r)  # fmt: skip


def _centring_spread(i: Instance, k: int, r: int, centred: Tensor, v: Tensor) -> float:
    """Standard error of vᵀ(F̃F̃ᵀ)^{∘r}v from the sampled mean, to first order."""
    weights = v * (((centred @ centred.T) ** (r - 1)) @ v)
    return i.mean_spread(k, 2 * r * (centred.T @ weights))


def _rank_two(out: Findings, k: int, A: Tensor, centred: Tensor, v: Tensor) -> None:
    """AAᵀ − ÃÃᵀ = 1vᵀ + v1ᵀ: its smallest eigenvalue in closed form."""
    N = len(v)
    size = float(v.norm())
    predicted = float(v.sum()) - math.sqrt(N) * size
    found = float(torch.linalg.eigvalsh(A @ A.T - centred @ centred.T)[0])
    scale = float(A.square().sum() + centred.square().sum())
    bar = (2 * A.shape[1] + 4 * N) * U * scale
    if N > 1:
        out.equal(f"λ_min(FFᵀ − F̃F̃ᵀ) = Σv − √N‖v‖, F_{k}, r = 1", Quantity(found, bar),
                  Quantity(predicted, bar),
                  note="v_i = Λ_ii + ‖μ‖²/2; negative unless v is constant", key="rank-two", k=k)  # fmt: skip


@PAPER.statement(
    "lemma-5.5",
    title="Khatri-Rao powers of centred features",
    section="Lemma 5.5 and App. E.4",
    sentence="λ_min of the r-th Khatri-Rao power of the centred features is of the order of (d Π n_l β_l²)^r.",
    latex=(
        r"\lambda_{\min}\big((\tilde F_k^{*r})(\tilde F_k^{*r})^\top\big)="
        r"\Theta\Big(\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)^r\Big)"
    ),
    level2="Gershgorin, eq. 50-51: min‖·‖^{2r} − (N−1)max|⟨·,·⟩|^r ≤ λ_min ≤ max‖·‖^{2r} + (N−1)max|⟨·,·⟩|^r",
)
def centred_powers(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    for k in range(1, i.L):
        logs = math.prod(math.log(i.n[l]) for l in range(1, k))
        name = f"Π_(l<{k}) log n_l = o(min_(l≤{k}) n_l)"
        out.order_of(name, logs, min(i.n[: k + 1]), at_least=False)
        centred = i.centred(k)
        gram = centred @ centred.T
        diagonal = gram.diagonal()
        across = gram - torch.diag(diagonal)
        N = len(gram)
        for r in POWERS:
            value = power_eigenvalue(gram, r, i.n[k])
            v = torch.linalg.eigh(gram**r)[1][:, 0]
            spread = _centring_spread(i, k, r, centred, v)
            worst = float(across.abs().max()) ** r
            length = r * (i.n[k] + 4) + N
            low = float(diagonal.min()) ** r - (N - 1) * worst
            high = float(diagonal.max()) ** r + (N - 1) * worst
            name = f"λ_min(F̃_{k}^(*{r})…)"
            out.at_least(f"{name} ≥ min‖·‖^(2r) − (N−1)max|⟨·,·⟩|^r", value,
                         rounded(low, length, high), key="gershgorin-below", k=k, r=r)  # fmt: skip
            out.at_most(f"{name} ≤ max‖·‖^(2r) + (N−1)max|⟨·,·⟩|^r", value, rounded(high, length),
                        key="gershgorin-above", k=k, r=r)  # fmt: skip
            out.scaling(name, Quantity(value.value, value.error, spread), "Θ",
                        scales.features(i, k) ** r, f"(d Π_(l≤{k}) n_l β_l²)^{r}", key="power", k=k,
                        r=r)  # fmt: skip
