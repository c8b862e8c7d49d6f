"""Nguyen et al. 2021, Lemmas 5.4 and 5.5: centred features, and the form of 5.4 that holds.

With μ = E f_k, Ã = A − 1μᵀ, μ̂ = μ/‖μ‖ and P = I − μ̂μ̂ᵀ one has ÃP = AP, since Pμ = 0, and so

    AAᵀ = ÃPÃᵀ + (Aμ̂)(Aμ̂)ᵀ,   hence (AAᵀ)^{∘r} ⪰ (ÃPÃᵀ)^{∘r} for every r (Schur).

What the proofs use of Ã survives under P: rows are Lipschitz functions of x with no larger a constant,
and of E‖f_k − μ‖² the projection takes Var⟨f_k, μ̂⟩ ≤ C_P ‖f_k‖²_Lip alone, which (39) makes o(·).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import assumptions, scales, tails
from ntkscope.statements.shared.joint import redrawable
from ntkscope.statements.shared.relu import norm_bound

POWERS = (1, 2, 4, 6)


def direction(i: Instance, k: int) -> Tensor:
    """μ̂ (n_k,); 0 where E f_k = 0, so that P = I − μ̂μ̂ᵀ is the identity."""
    mean = i.mean_features(k)[0]
    norm = float(mean.norm())
    return mean / norm if norm > 0 else torch.zeros_like(mean)


def projected(i: Instance, k: int) -> Tensor:
    """F̃_kP on ``i.rows``, (N, n_k)."""

    def make() -> Tensor:
        centred, unit = i.centred(k), direction(i, k)
        return centred - torch.outer(centred @ unit, unit)

    return i.held(("projected", k), make)


def projected_lambda(i: Instance, k: int, r: int) -> Quantity:
    """λ_min((F̃_kPF̃_kᵀ)^{∘r}) with the error of forming it; at r = 1 it is 0 unless n_k > N."""

    def make() -> Quantity:
        A = projected(i, k)
        full = i.F(k)[i.rows]
        # cancellation in F̃ and in the projection leaves errors of the size of F itself
        sizes = full.square().sum(dim=1) + float(i.mean_features(k)[0].square().sum())
        forming = r * (i.n[k] + 12) * U * float((sizes**r).max()) * len(A)
        found = power_eigenvalue(A @ A.T, r, i.n[k])
        return Quantity(found.value, found.error + forming)

    return i.held(("λ projected", k, r), make)


_POWERS = (1, 2, 3, 4)  # r of the Khatri-Rao powers


def logs_condition(i: Instance, out: Findings, k: int) -> None:
    """Π_{l<k} log n_l = o(min_{l≤k} n_l), which Lemmas 5.4 and 5.5 and C.3 need at layer k."""
    logs = math.prod(math.log(n) for n in i.n[1:k])
    name = f"Π_(l<{k}) log n_l = o(min_(l≤{k}) n_l)"
    out.order_of(name, logs, min(i.n[: k + 1]), at_least=False)


@PAPER.statement(
    "lemma-5.4",
    title="Centring the features",
    section="Lemma 5.4 and App. E.3",
    sentence=(
        "Centring does not increase the Gram of a Khatri-Rao power (false at r = 1, not proved at any r)."
    ),
    latex=r"(F_k^{*r})(F_k^{*r})^\top\succeq(\tilde F_k^{*r})(\tilde F_k^{*r})^\top",
    level2=(
        "the order as printed, r = 1…4, and its consequence for λ_min; λ_min(AAᵀ − ÃÃᵀ) = Σv − √N‖v‖ ≤ 0 "
        "for r = 1; the event of the proof over the data"
    ),
)
def centring(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    for k in range(1, i.L):
        mean, exact = i.mean_features(k)
        out.note(f"E_x f_{k}(x) is {'in closed form' if exact else 'sampled'}.")
        A, centred = i.F(k)[i.rows], i.centred(k)
        for r in (1, 2, 3, 4):
            _loewner(i, out, k, r, A, centred)
        _rank_two(out, k, A, centred, A @ mean - 0.5 * float(mean.square().sum()))
        _proof_event(i, out, k, mean)
        _order_events(i, out, k)
    out.note(
        "The proof takes Λ_ii ≥ −‖μ‖²/2 at every sample to give the order; it does not. "
        "nguyen2021.lemma-5.4-projection has the form that holds, at every r."
    )


def _loewner(i: Instance, out: Findings, k: int, r: int, A: Tensor, centred: Tensor) -> None:
    full, reduced = (A @ A.T) ** r, (centred @ centred.T) ** r
    if not bool(full.isfinite().all()):
        out.note(f"The powers r = {r} at layer {k} are beyond float64.")
        return
    forming = r * (i.n[k] + 4) * U * float((full + reduced).diagonal().sum())
    eigenvalues, spread = _lowest(i, k, r, centred, full - reduced)
    bar = forming + len(full) * U * float(eigenvalues.abs().max())
    name = f"F_{k}, r = {r}"
    size = float(full.diagonal().max())
    # at r = 1 it fails on every draw but those with v constant; beyond, it is promised with a probability
    promised = None if r == 1 else math.nan
    # a difference that is 0 is one that holds: its size is that of the matrices
    out.conclude_at_least(
        f"λ_min(FFᵀ − F̃F̃ᵀ) ≥ 0, {name}", Quantity(float(eigenvalues[0]), bar, spread), 0.0,
        erratum=r == 1, promised=promised, nonnegative=False, scale=size, key="difference", k=k, r=r,
    )  # fmt: skip
    left, right = full_lambda(i, k, r), centred_lambda(i, k, r)
    spread = 0.0 if i.mean_features(k)[1] else _lowest(i, k, r, centred, reduced)[1]
    out.at_least(f"λ_min(FFᵀ) ≥ λ_min(F̃F̃ᵀ), {name}", left,
                 Quantity(right.value, right.error, spread), erratum=r == 1, promised=promised, key="eigenvalues", k=k,
                 r=r)  # fmt: skip


def _lowest(i: Instance, k: int, r: int, centred: Tensor, matrix: Tensor) -> tuple[Tensor, float]:
    """Eigenvalues of ``matrix``, and what a sampled mean leaves open of the smallest one."""
    if i.mean_features(k)[1]:
        return torch.linalg.eigvalsh(matrix), 0.0
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return eigenvalues, centring_spread(i, k, r, centred, vectors[:, 0])


def full_lambda(i: Instance, k: int, r: int) -> Quantity:
    """λ_min((F_kF_kᵀ)^{∘r}) on the rows that centred features are compared on."""
    A = i.F(k)[i.rows]
    return i.held(("λ full", k, r), lambda: power_eigenvalue(A @ A.T, r, i.n[k]))


def centred_lambda(i: Instance, k: int, r: int) -> Quantity:
    """λ_min((F̃_kF̃_kᵀ)^{∘r})."""
    A = i.centred(k)
    return i.held(("λ centred", k, r), lambda: power_eigenvalue(A @ A.T, r, i.n[k]))


def centring_spread(i: Instance, k: int, r: int, centred: Tensor, v: Tensor) -> float:
    """Standard error of vᵀ(F̃F̃ᵀ)^{∘r}v from the sampled mean, to first order."""
    weights = v * (((centred @ centred.T) ** (r - 1)) @ v)
    return i.mean_spread(k, 2 * r * (centred.T @ weights))


def _rank_two(out: Findings, k: int, A: Tensor, centred: Tensor, v: Tensor) -> None:
    """AAᵀ − ÃÃᵀ = 1vᵀ + v1ᵀ: its smallest eigenvalue in closed form."""
    N = len(v)
    predicted = float(v.sum()) - math.sqrt(N) * float(v.norm())
    found = float(torch.linalg.eigvalsh(A @ A.T - centred @ centred.T)[0])
    scale = float(A.square().sum() + centred.square().sum())
    bar = (2 * A.shape[1] + 4 * N) * U * scale
    if N > 1:
        out.equal(f"λ_min(FFᵀ − F̃F̃ᵀ) = Σv − √N‖v‖, F_{k}, r = 1", Quantity(found, bar),
                  Quantity(predicted, bar), tautology=True,
                  note="v_i = Λ_ii + ‖μ‖²/2; negative unless v is constant", key="rank-two", k=k)  # fmt: skip


def _proof_event(i: Instance, out: Findings, k: int, mean: Tensor) -> None:
    """min_i Λ_ii ≥ −‖μ‖²/2 over fresh data, the weights as they are."""
    law, size = i.distribution, float(mean.square().sum())
    if law is None or size == 0 or i.slope is None:
        return
    stretch = math.sqrt(float(norm_bound(i, i.slope, 1, k)))
    fails = tails.lipschitz(law, 0.5 * size, math.sqrt(size) * stretch)
    trials = i.affordable(2.0 * i.N * sum(a * b for a, b in zip(i.n, i.n[1 : k + 1], strict=False)))
    met = 0
    for trial in range(trials):
        with torch.no_grad():
            X = law.sample(i.N, i.generator(f"5.4 {trial}"))
            features = i.model.layers(X.to(i.model.dtype))[0][k]
        met += float((features @ mean).min()) >= 0.5 * size
    out.event(f"min_i Λ_ii ≥ −‖μ‖²/2 at layer {k} (the proof's event)", met, trials,
              None if fails is None else 1.0 - i.N * fails, key="proof", over="the data", k=k,
              note="1 − N P(Λ ≤ −‖μ‖²/2), ‖f_k‖_Lip ≤ Π M‖W_l‖")  # fmt: skip


def _order_events(i: Instance, out: Findings, k: int) -> None:
    """How often the order holds over data and weights, where E f_k is known exactly."""
    if not redrawable(i) or not i.mean_features(k)[1] or i.N < 2:
        return

    def occurs(r: int, fresh: Instance) -> bool | None:
        A, centred = fresh.F(k), fresh.centred(k)
        full, reduced = (A @ A.T) ** r, (centred @ centred.T) ** r
        least = float(torch.linalg.eigvalsh(full - reduced)[0])
        bar = (r * (fresh.n[k] + 4) + 4 * fresh.N) * U * float((full + reduced).diagonal().sum())
        return None if abs(least) <= bar else least > 0

    for r in (1, 2, 3, 4):
        out.event_over(f"(FFᵀ)^{r} ⪰ (F̃F̃ᵀ)^{r}, layer {k}", i.redraws(),
                       partial(occurs, r), None, key="order", k=k, r=r)  # fmt: skip


@PAPER.statement(
    "lemma-5.4-projection",
    title="Projecting the centred features",
    section="Lemma 5.4, in a form that holds",
    sentence=(
        "With P the projection off E f_k, centred and projected features never have the larger Gram, and "
        "their Khatri-Rao powers keep the order of Lemma 5.5."
    ),
    latex=(
        r"(F_kF_k^\top)^{\circ r}\succeq(\tilde F_kP\tilde F_k^\top)^{\circ r},\quad P=I-\hat\mu\hat\mu^\top,\ "
        r"\hat\mu=\mu/\|\mu\|;\quad\lambda_{\min}\big((\tilde F_kP\tilde F_k^\top)^{\circ r}\big)"
        r"=\Theta\Big(\Big(d\prod_{l\le k}n_l\beta_l^2\Big)^r\Big)"
    ),
    level2=(
        "AAᵀ = ÃPÃᵀ + (Aμ̂)(Aμ̂)ᵀ and its consequence for λ_min of every power; Var⟨f_k, μ̂⟩ ≤ C_P Π M²‖W_l‖²"
    ),
)
def projection(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    most = max(_projected_rank(i, k, r) for k in range(1, i.L) for r in _POWERS)
    out.hypothesis(
        "N ≤ C(n_k + r − 2, r), the rank of a power, at some k and r ≤ 4", most >= i.N, i.N, most
    )
    for k in range(1, i.L):
        logs_condition(i, out, k)
        A, AP, unit = i.F(k)[i.rows], projected(i, k), direction(i, k)
        along = A @ unit
        size = float(A.square().sum(dim=1).max() + i.mean_features(k)[0].square().sum())
        gap = (A @ A.T - AP @ AP.T - torch.outer(along, along)).abs().max()
        bar = (4 * i.n[k] + 32) * U * size
        out.equal(f"max|AAᵀ − ÃPÃᵀ − (Aμ̂)(Aμ̂)ᵀ|, F_{k}", Quantity(float(gap), bar), 0.0,
                  scale=size, tautology=True, key="identity", k=k)  # fmt: skip
        _lost(i, out, k, unit)
        sizes = i.norms_sq(AP)
        expression = f"d Π_(l≤{k}) n_l β_l²"
        for which, value in (("min", sizes.min()), ("max", sizes.max())):
            out.step_order(f"{which}_i ‖P(f_{k}(x_i) − Ef_{k})‖²", rounded(value, i.n[k] + 8, size),
                           "Θ", scales.features(i, k), expression, key="row", which=which, k=k)  # fmt: skip
        for r in _POWERS:
            least = projected_lambda(i, k, r)
            name = f"λ_min((F̃_{k}PF̃_{k}ᵀ)^{r})"
            out.at_least(f"λ_min((F_{k}F_{k}ᵀ)^{r}) ≥ {name}", full_lambda(i, k, r),
                         least, tautology=True, key="eigenvalues", k=k, r=r)  # fmt: skip
            if _projected_rank(i, k, r) >= i.N:
                out.conclusion(name, least, "Θ", scales.features(i, k, r), f"({expression})^{r}",
                               key="power", k=k, r=r)  # fmt: skip
    if not i.mean_features(i.L - 1)[1]:
        out.note("A sampled mean serves: the order holds whatever vector is put for E f_k.")


def _projected_rank(i: Instance, k: int, r: int) -> int:
    """The rank that (F̃PF̃ᵀ)^{∘r} can have: the monomials of degree r in n_k − 1 variables."""
    return math.comb(i.n[k] + r - 2, r)


def _lost(i: Instance, out: Findings, k: int, unit: Tensor) -> None:
    """What the projection takes of E‖f_k − Ef_k‖², against Poincaré's bound."""
    constant = assumptions.poincare(i.distribution)
    if constant is None or i.slope is None or i.network.residual:
        return
    values = i.reference_pass[0][k] @ unit
    deviations = (values - values.mean()).square()
    variance = Quantity(float(values.var()), 0.0, float(deviations.std()) / math.sqrt(len(values)))
    out.at_most(f"Var⟨f_{k}, μ̂⟩ ≤ C_P Π M²‖W_l‖²_op", variance,
                norm_bound(i, i.slope, 1, k) * constant, key="lost", k=k)  # fmt: skip
    out.step_order(f"Var⟨f_{k}, μ̂⟩", variance, "O", scales.lipschitz(i, 0, k),
                   "Πn_l/min n_l Πlog n_l Πβ_l²", key="lost-order", k=k)  # fmt: skip


@PAPER.statement(
    "lemma-5.5",
    title="Khatri-Rao powers of centred features",
    section="Lemma 5.5 and App. E.4",
    sentence="λ_min of the r-th Khatri-Rao power of the centred features is of the order of (d Π n_l β_l²)^r.",
    latex=(
        r"\lambda_{\min}\big((\tilde F_k^{*r})(\tilde F_k^{*r})^\top\big)="
        r"\Theta\Big(\Big(d\prod_{l=1}^{k}n_l\beta_l^2\Big)^r\Big)"
    ),
    level2=(
        "Gershgorin, eq. 50-51: min‖·‖^{2r} − (N−1)max|⟨·,·⟩|^r ≤ λ_min ≤ max‖·‖^{2r} + (N−1)max|⟨·,·⟩|^r; "
        "eq. 55 and 57 over the data"
    ),
)
def centred_powers(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    out.note(i.reference_note)
    for k in range(1, i.L):
        logs_condition(i, out, k)
        centred = i.centred(k)
        gram = centred @ centred.T
        _gershgorin(i, out, k, gram)
        for r in POWERS:
            if not bool((gram**r).isfinite().all()):
                out.note(f"The powers r = {r} at layer {k} are beyond float64.")
                continue
            value = centred_lambda(i, k, r)
            if math.comb(i.n[k] + r - 1, r) < i.N:
                out.note(f"Layer {k}, r = {r}: n_{k} is too narrow for the power to have rank N.")
                continue
            spread = 0.0 if i.mean_features(k)[1] else _lowest(i, k, r, centred, gram**r)[1]
            out.conclusion(f"λ_min(F̃_{k}^(*{r})…)", Quantity(value.value, value.error, spread), "Θ",
                           scales.features(i, k, r), f"(d Π_(l≤{k}) n_l β_l²)^{r}", key="power",
                           k=k, r=r)  # fmt: skip
        _products_event(i, out, k)


def _gershgorin(i: Instance, out: Findings, k: int, gram: Tensor) -> None:
    diagonal = gram.diagonal()
    N = len(gram)
    for r in POWERS:
        value = centred_lambda(i, k, r)
        length = r * (i.n[k] + 4) + N
        worst = float(((gram - torch.diag(diagonal)) ** r).abs().max())
        low = float((diagonal**r).min()) - (N - 1) * worst
        high = float((diagonal**r).max()) + (N - 1) * worst
        name = f"λ_min(F̃_{k}^(*{r})…)"
        out.at_least(f"{name} ≥ min‖·‖^(2r) − (N−1)max|⟨·,·⟩|^r", value, rounded(low, length, high),
                     tautology=True, key="gershgorin-below", k=k, r=r)  # fmt: skip
        out.at_most(f"{name} ≤ max‖·‖^(2r) + (N−1)max|⟨·,·⟩|^r", value, rounded(high, length),
                    tautology=True, key="gershgorin-above", k=k, r=r)  # fmt: skip


def _products_event(i: Instance, out: Findings, k: int) -> None:
    """Eq. 57 with ½ for o(·): (N−1)max|⟨f̃_i, f̃_j⟩|^r ≤ ½ min‖f̃_i‖^{2r}, over data and weights."""
    if not redrawable(i) or not i.mean_features(k)[1] or i.N < 2:
        return
    for r in (2, 4):

        def occurs(fresh: Instance, r: int = r) -> bool:
            centred = fresh.centred(k)
            gram = centred @ centred.T
            diagonal = gram.diagonal()
            across = float((gram - torch.diag(diagonal)).abs().max())
            return (fresh.N - 1) * across**r <= 0.5 * float(diagonal.min()) ** r

        out.event_over(f"eq. 57 with ½: (N−1)max|⟨·,·⟩|^{r} ≤ ½ min‖·‖^{2 * r}, layer {k}",
                       i.redraws(), occurs, None, key="eq-57", k=k, r=r)  # fmt: skip
