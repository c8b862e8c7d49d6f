"""Banerjee et al. 2023, Lemmas 4.1 and 4.3, eq. 10, Remark 4.6."""

from __future__ import annotations

import math
from functools import partial

import torch

from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import linear_width, norm_condition, scaled_data
from ntkscope.papers.banerjee2023.draws import event_over_weights, every, reaches
from ntkscope.papers.banerjee2023.hypotheses import Setting
from ntkscope.papers.banerjee2023.layers import (
    ORDERS,
    Layers,
    as_printed,
    layers,
    square_spread,
)
from ntkscope.statements.eigenvalues import gram_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, quantity
from ntkscope.statements.shared.chernoff import Tail

_TRIALS = 10  # layers drawn behind a success rate, at least where the budget allows no more


@PAPER.statement(
    "lemma-4.1",
    title="Matrix concentration",
    section="Lemma 4.1, eq. 8-9",
    sentence="With m_l ≥ max(n, c_2 v max(1, log 15v) log(Ln/δ)), λ_min(A^(l)A^(l)ᵀ) ≥ m_l λ_l/4.",
    latex=r"\lambda_{\min}(A^{(l)}A^{(l)\top})\ge\tfrac{m_l\lambda_l}{4},\quad v=\tfrac{2(\sqrt{\log n}+1)^2\sigma^2\|A^{(l-1)}\|_F^2}{c_3\lambda_l m_{l-1}}",
    needs=(PAPER.needs[0], PAPER.needs[3]),
    level2="the event over W^(l) given A^(l−1), promised by matrix Chernoff; λ_min(A^(l)A^(l)ᵀ) ≤ m_l λ_l on average (Jensen)",
)
def lemma_4_1(i: Instance, out: Findings) -> None:
    k = layers(i)
    for l in range(1, i.L):
        value, v = k.smallest(l), scaled_v(k, l)
        logs = max(1.0, math.log(15 * v)) if math.isfinite(v) else math.inf
        width = v * logs * math.log(max((i.L - 1) * i.N / i.delta, 2.0))
        out.hypothesis(f"m_{l} ≥ n", i.n[l] >= i.N, i.n[l], i.N)
        out.order_of(f"m_{l} ≥ c_2 v max(1, log 15v) log(Ln/δ), c_3 v = {v:.4g}", i.n[l], width,
                     at_least=True)  # fmt: skip
        flops = 4.0 * i.N**2 * i.n[l] + 10.0 * i.N**3 + 2.0 * i.N * i.n[l] * i.n[l - 1]
        trials = max(min(i.trials, _TRIALS), i.affordable(flops))
        minima = [_fresh_layer(i, l, trial) for trial in range(trials)]
        bound = value * (i.n[l] / 4)
        found = [reaches(least, bound) for least in minima]
        fails, enough = _chernoff(i, l, value)
        out.event(
            f"λ_min(A^({l})A^({l})ᵀ) ≥ m_{l} λ_{l}/4", sum(f is True for f in found), trials, 1 - fails,
            f"promised by matrix Chernoff, with constants, from m_{l} = {enough:.3g} on; as printed "
            f"{1 - i.delta / (i.L - 1):.4g} where c_2, c_3 allow it",
            undecided=sum(f is None for f in found), over=f"W^({l})", key="concentration", l=l,
        )  # fmt: skip
        # too few trials to estimate a variance: the bound that the claim itself implies
        bar = square_spread(i, l, i.n[l] * value.value, trials)
        mean = sum(least.value for least in minima) / trials
        out.at_most(f"E λ_min(A^({l})A^({l})ᵀ) ≤ m_{l} λ_{l}", Quantity(mean, 0.0, bar),
                    value * i.n[l], key="jensen", l=l, tautology=True)  # fmt: skip
        ratio = i.lambda_features(l).value / (i.n[l] * value.value) if value.value else math.nan
        out.note(f"On this instance λ_min(A^({l})A^({l})ᵀ) = {ratio:.4g} m_{l} λ_{l}.")


def scaled_v(k: Layers, l: int) -> float:
    """c_3 v = 2(√log n + 1)² ν²‖A^(l−1)‖_F²/(λ_l m_(l−1)); ∞ where λ_l is not positive."""
    i, value = k.i, k.smallest(l).value
    spread = (math.sqrt(math.log(i.N)) + 1) ** 2
    frobenius = float(i.F(l - 1).square().sum())
    return 2 * spread * i.beta[l] ** 2 * frobenius / value if value > 0 else math.inf


def _chernoff(i: Instance, l: int, value: Quantity) -> tuple[float, float]:
    """(a bound on the probability that the event fails, the width at which it is δ/L)."""
    if i.network.bias_std or value.value - value.error <= 0:
        return 1.0, math.inf
    tail = Tail(i.F(l - 1), i.beta[l], value.value, i.network.activation)
    return tail.failure(i.n[l]), tail.sufficient_width(i.delta / (i.L - 1))


def _fresh_layer(i: Instance, l: int, trial: int) -> Quantity:
    """λ_min(A^(l)A^(l)ᵀ) with new weights in layer l alone; exactly 0 where m_l < n."""
    if i.n[l] < i.N:
        return Quantity(0.0)
    generator = i.generator(f"lemma-4.1 layer {l} trial {trial}")
    W = torch.randn(i.n[l - 1], i.n[l], generator=generator, dtype=torch.float64) * i.beta[l]
    g = i.F(l - 1) @ W
    if i.network.bias_std:
        g = g + i.network.bias_std * torch.randn(i.n[l], generator=generator).double()
    return quantity(gram_eigenvalue(i.network.activation(g)))


@PAPER.statement(
    "lemma-4.3",
    title="Lower bounds on λ_l",
    section="Lemma 4.3",
    sentence="λ_(l+1) ≥ (μ_r²/6c)^l (σ_0²/2)^{3rl} λ_1 for every r > 0.",
    latex=r"\lambda_{l+1}\ge\Big(\frac{(\mu_{r,0}^{(l)})^2}{6c_{\phi,\sigma_0}}\Big)^l\Big(\frac{\sigma_0^2}2\Big)^{3rl}\lambda_1",
    needs=(*PAPER.needs[:2], *PAPER.needs[3:]),
    level2=(
        "λ_(l+1) ≥ min μ_r² λ_min(C^{∘r}) ≥ min μ_r² min a^(r−1) ν²λ_min(A^(l)A^(l)ᵀ)/m_l always; "
        "the event with the printed constants, r = 1 … 7, over weights"
    ),
)
def lemma_4_3(i: Instance, out: Findings) -> None:
    scaled_data(i, out)
    norm_condition(i, out, Setting(i.network))
    k = layers(i)
    rows = []
    for l in range(i.L - 1):
        value = k.smallest(l + 1)
        for r in ORDERS:
            power = k.lambda_power(l + 1, r)
            out.at_least(f"λ_{l + 1} ≥ min μ_{r}² λ_min(C^∘{r})", value, k.mu_sq(l + 1, r) * power,
                         key="hermite", l=l + 1, r=r)  # fmt: skip
            gram = i.lambda_features(l) * i.beta[l + 1] ** 2
            out.at_least(f"λ_min(C^∘{r}) ≥ min a^{r - 1} ν²λ_min(A^({l})A^({l})ᵀ)/m, layer {l + 1}",
                         power, k.least_power(l + 1, r) * gram, key="power", l=l + 1, r=r,
                         tautology=True)  # fmt: skip
            if l:
                ratio = value.value / k.smallest(1).value if k.smallest(1).value else math.nan
                rows.append((l + 1, r, k.printed(l, r).value, k.corrected(l, r).value, ratio))
    if rows:
        out.table("Constants before λ_1", ("l", "r", "printed", "corrected", "λ_l/λ_1"), rows)
    together = sum((k.mu_sq(1, r) * k.lambda_power(1, r) for r in ORDERS), Quantity(0.0))
    out.at_least(f"λ_1 ≥ Σ_(r ≤ {ORDERS[-1]}) min μ_r² λ_min(C^∘r), r ≥ 1", k.smallest(1), together,
                 key="ladder")  # fmt: skip
    _printed_chain(i, out, k)


def _printed_chain(i: Instance, out: Findings, k: Layers) -> None:
    """The event with the printed constants over weights, and on this draw where it is too rare."""
    inverse, squares = (sum(i.n[l] ** -p for l in range(1, i.L)) for p in (1, 2))
    out.note(
        f"1 − 2nΣ1/m_l = {1 - 2 * i.N * inverse:.4g} as printed, nothing for m ≤ 2nL; Lemma 4.2's "
        f"1 − 2nΣ1/m_l² = {1 - 2 * i.N * squares:.4g} is meant."
    )
    lambda_1, promised = k.smallest(1), 1 - 2 * i.N * inverse
    for l in range(1, i.L - 1) if as_printed(i) else ():
        event_over_weights(
            i, out, f"λ_{l + 1} ≥ c_0^{{({l},r)}} λ_1 as printed, r = 1 … 7",
            partial(_chain_event, l=l, lambda_1=lambda_1),
            promised, key="printed", l=l + 1,
        )  # fmt: skip
        for r in ORDERS:
            out.conclude_at_least(f"λ_{l + 1}, r = {r}, as printed", k.smallest(l + 1),
                                  lambda_1 * k.printed(l, r), erratum=True, key="printed",
                                  promised=promised, l=l + 1, r=r)  # fmt: skip


def _chain_event(fresh: Instance, l: int, lambda_1: Quantity) -> bool | None:
    k = layers(fresh)
    return every(reaches(k.smallest(l + 1), lambda_1 * k.printed(l, r)) for r in ORDERS)


@PAPER.statement(
    "eq-10",
    title="The width that suffices",
    section="eq. 10",
    sentence="m ≥ max(n, c_2 σ_0² n log n/λ_l · max(1, log(c_3 σ_0² n log n/λ_l)) log(Ln/δ)) = Ω̃(n).",
    latex=(
        r"m\ge\max\Big(n,c_2\tfrac{\sigma_0^2n\log n}{\lambda_l}\max\big(1,\log(c_3\tfrac{\sigma_0^2n\log n}"
        r"{\lambda_l})\big)\log\tfrac{Ln}\delta\Big)=\tilde\Omega(n)"
    ),
    level2="v ≤ 3(√log n + 1)²σ_0² n/(c_3 λ_l) where Lemma 4.2's band stands; λ_l = Ω(1) is what is left",
)
def eq_10(i: Instance, out: Findings) -> None:
    scaled = scaled_data(i, out)
    linear_width(i, out)
    k, s = layers(i), Setting(i.network)
    spread = (math.sqrt(math.log(i.N)) + 1) ** 2
    for l in range(1, i.L):
        value = k.smallest(l)
        out.conclusion(f"λ_{l}", value, "Ω", 1.0, "1", key="lambda", l=l)
        if value.value <= 0 or not as_printed(i):
            continue
        v = Quantity(scaled_v(k, l), 1e-10 * scaled_v(k, l))
        band = float(i.F(l - 1).square().sum()) <= 1.5 * s.c * i.N * i.n[l - 1]
        if l > 1 and band:
            bound = 3 * spread * s.sigma_sq * i.N / value.value
            out.at_most(f"c_3 v ≤ 3(√log n + 1)² σ_0² n/λ_{l}", v, bound, key="v", l=l)
        elif l == 1 and scaled:
            # ‖A^(0)‖² = nd, so ν_0² = σ_0²/c stands where eq. 10 has σ_0²
            exact = 2 * spread * s.nu_sq * i.N / value.value
            out.equal("c_3 v = 2(√log n + 1)² ν_0² n/λ_1", v, exact, key="v", l=l)
        if i.N > 1:
            x = s.sigma_sq * i.N * math.log(i.N) / value.value
            width = x * max(1.0, math.log(x)) * math.log((i.L - 1) * i.N / i.delta)
            out.order_of(f"m_{l} ≥ c_2 σ_0² n log n/λ_{l} · …", i.n[l], width, at_least=True)
    out.note(
        "λ_l = Ω(1) rests on λ_1 = Ω(1), which nothing shown gives: λ_1 falls as n grows at fixed d. In the "
        "first layer ‖A^(0)‖_F² = nd puts ν_0² = σ_0²/c where eq. 10 has σ_0²; at n = 1 its log n is 0 and v is not."
    )


@PAPER.statement(
    "remark-4.6",
    title="φ(0) = 0 can be relaxed",
    section="Remark 4.6",
    sentence="φ(0) = 0 is assumed for simplicity; the Hermite bound needs no such thing.",
    latex=r"\phi(0)\ne0",
    needs=(),
    level2="λ_l ≥ min μ_r² λ_min(C^{∘r}) and λ_l ≥ min μ_r² min a^(r−1) λ_min(C), at any φ(0)",
)
def remark_4_6(i: Instance, out: Findings) -> None:
    k = layers(i)
    at_zero = i.network.activation.at_zero
    out.note(f"φ(0) = {at_zero:g}. Theorem 4.1 asks for 0, which the sigmoid of §6 does not have.")
    for l in range(1, i.L):
        for r in ORDERS:
            bound = k.mu_sq(l, r) * k.least_power(l, r) * k.lambda_power(l, 1)
            out.at_least(f"λ_{l} ≥ min μ_{r}² min a^{r - 1} λ_min(C)", k.smallest(l), bound,
                         key="hermite-variance", l=l, r=r)  # fmt: skip
