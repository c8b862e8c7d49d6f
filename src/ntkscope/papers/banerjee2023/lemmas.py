"""Banerjee et al. 2023, Theorem 4.2 and its Lemmas 4.1-4.3, as printed and as corrected."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.activations.hermite import hermite_coefficients, second_moment
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.assumptions import require
from ntkscope.papers.banerjee2023.hypotheses import (
    Setting,
)
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
from ntkscope.statements.quantity import Quantity, U, quantity, rounded

_TRIALS = 10  # networks or layers drawn behind a success rate, at most


@PAPER.statement(
    "theorem-4.2",
    title="Smallest eigenvalue of the activation matrices",
    section="Theorem 4.2",
    sentence="λ_min(A^(l)A^(l)ᵀ) ≥ c_0^{(l−1,r)} m_l λ_1 for every layer and every r > 1.",
    latex=(
        r"\lambda_{\min}(A^{(l)}A^{(l)\top})\ge c_0^{(l-1,r)}m_l\lambda_1,\quad "
        r"c_0^{(l,r)}=\Big(\frac{(\mu_{r,0}^{(l)})^2}{6c_{\phi,\sigma_0}}\Big)^l\Big(\frac{\sigma_0^2}{2}\Big)^{3rl}"
    ),
    level2="on Lemma 4.1's event: λ_min(A^(l)A^(l)ᵀ) ≥ (m_l/4) Π_j[min μ_r² ν²/4 min a^(r−1)] λ_1",
)
def theorem_4_2(i: Instance, out: Findings) -> None:
    require(i, out)
    k = layers(i)
    rows = []
    for l in range(1, i.L):
        measured = i.lambda_features(l)
        on_event = all(k.event(j) for j in range(1, l + 1))
        for r in ORDERS:
            printed, corrected = k.printed(l - 1, r), k.corrected(l - 1, r)
            if as_printed(i) and r > 1:
                out.at_least(f"layer {l}, r = {r}, as printed", measured,
                             k.smallest(1) * (printed * i.n[l]), erratum=True, key="printed", l=l,
                             r=r)  # fmt: skip
            if on_event:
                out.at_least(f"layer {l}, r = {r}, corrected, on the event", measured,
                             corrected * k.smallest(1) * (i.n[l] / 4), key="corrected", l=l, r=r)  # fmt: skip
            ratio = measured.value / (i.n[l] * k.smallest(1).value) if k.smallest(1).value else 0.0
            rows.append((l, r, k.mu_sq(l, r).value, printed.value, corrected.value / 4, ratio))
        out.scaling(f"λ_min(A^({l})A^({l})ᵀ)", measured, "Ω", i.n[l] * k.smallest(1).value,
                    "m_l λ_1", key="features", l=l)  # fmt: skip
    out.table("c_0^{(l−1,r)}", ("l", "r", "min μ_r² (layer l)", "printed", "corrected/4",
              "λ_min(A^(l)A^(l)ᵀ)/(m_l λ_1)"), rows)  # fmt: skip
    out.note(
        "At l = 1 the printed constant is 1, but E λ_min(A^(1)A^(1)ᵀ) ≤ m λ_1 (λ_min is concave): "
        "the factor 1/4 of Lemma 4.1 was dropped in step (b) of the proof."
    )


@PAPER.statement(
    "lemma-4.1",
    title="Matrix concentration",
    section="Lemma 4.1, eq. 8-9",
    sentence="With m_l ≥ max(n, c_2 v max(1, log 15v) log(Ln/δ)), λ_min(A^(l)A^(l)ᵀ) ≥ m_l λ_l/4.",
    latex=r"\lambda_{\min}(A^{(l)}A^{(l)\top})\ge\tfrac{m_l\lambda_l}{4},\quad v=\tfrac{2(\sqrt{\log n}+1)^2\sigma^2\|A^{(l-1)}\|_F^2}{c_3\lambda_l m_{l-1}}",
    needs=(PAPER.needs[0], PAPER.needs[3]),
    level2="a success rate over W^(l) given A^(l−1); λ_min(A^(l)A^(l)ᵀ) ≤ m_l λ_l on average (Jensen)",
)
def lemma_4_1(i: Instance, out: Findings) -> None:
    k = layers(i)
    for l in range(1, i.L):
        value = k.smallest(l)
        frobenius = float(i.F(l - 1).square().sum())
        spread = (math.sqrt(math.log(i.N)) + 1) ** 2 if i.N > 1 else 1.0
        v = 2 * spread * i.beta[l] ** 2 * frobenius / value.value if value.value > 0 else math.inf
        logs = max(1.0, math.log(15 * v)) if math.isfinite(v) else math.inf
        width = v * logs * math.log(max((i.L - 1) * i.N / i.delta, 2.0))
        out.hypothesis(f"m_{l} ≥ n", i.n[l] >= i.N, i.n[l], i.N)
        enough = out.order_of(f"m_{l} ≥ c_2 v max(1, log 15v) log(Ln/δ), c_3 v = {v:.4g}", i.n[l],
                              width, at_least=True)  # fmt: skip
        trials = min(i.trials, _TRIALS)
        minima = [_fresh_layer(i, l, trial) for trial in range(trials)]
        met = sum(m >= i.n[l] * value.value / 4 for m in minima)
        claimed = 1 - i.delta / (i.L - 1) if enough and i.n[l] >= i.N else None
        out.rate(f"λ_min(A^({l})A^({l})ᵀ) ≥ m_{l} λ_{l}/4 over W^({l})", met, trials, claimed,
                 "constants 1 for c_2, c_3")  # fmt: skip
        if trials:
            # too few trials to estimate a variance: the bound that the claim itself implies
            bar = square_spread(i, l, i.n[l] * value.value, trials)
            out.at_most(f"E λ_min(A^({l})A^({l})ᵀ) ≤ m_{l} λ_{l}",
                        Quantity(sum(minima) / trials, 0.0, bar), value * i.n[l], key="jensen", l=l)  # fmt: skip
        ratio = i.lambda_features(l).value / (i.n[l] * value.value) if value.value else math.nan
        out.note(f"On this instance λ_min(A^({l})A^({l})ᵀ) = {ratio:.4g} m_{l} λ_{l}.")


def _fresh_layer(i: Instance, l: int, trial: int) -> float:
    """λ_min(A^(l)A^(l)ᵀ) with new weights in layer l alone; 0 where m_l < n."""
    if i.n[l] < i.N:
        return 0.0
    generator = i.generator(f"lemma-4.1 layer {l} trial {trial}")
    W = torch.randn(i.n[l - 1], i.n[l], generator=generator, dtype=torch.float64) * i.beta[l]
    g = i.F(l - 1) @ W
    if i.network.bias_std:
        g = g + i.network.bias_std * torch.randn(i.n[l], generator=generator).double()
    return gram_eigenvalue(i.network.activation(g)).value


@PAPER.statement(
    "lemma-4.2",
    title="Norms of the activations",
    section="Lemma 4.2",
    sentence="‖α^(l)(x_i)‖² lies between c m_l/2 and 3c m_l/2 for all layers and samples.",
    latex=(
        r"\tfrac{c_{\phi,\sigma_0}}2m_l\le c_{\phi,\sigma_0}\Big(1-\tfrac{h_C(l)}{2h_C(L)}\Big)m_l\le"
        r"\|\alpha^{(l)}(x_i)\|_2^2\le c_{\phi,\sigma_0}\Big(1+\tfrac{h_C(l)}{2h_C(L)}\Big)m_l\le\tfrac{3c_{\phi,\sigma_0}}2m_l"
    ),
    level2="|c_(φ,√a_i) − c_(φ,σ0)| ≤ M²|a_i − σ_0²|; ‖α^(l)‖ ≤ |φ(0)|√m + M‖W‖‖α^(l−1)‖; rates of both bands at ‖x‖² = c d",
)
def lemma_4_2(i: Instance, out: Findings) -> None:
    require(i, out)
    k, s = layers(i), Setting(i.network)
    hidden = i.L - 1
    for first in (0, 1):
        h = s.h(hidden, first)
        need = max(8 * h**2 / s.c**2, 4 * h / s.c)
        root = math.sqrt(min(i.n[1 : i.L]))
        out.hypothesis(f"max(8h_C²/c², 4h_C/c) ≤ √m, h_C from i = {first}", need <= root, need,
                       root)  # fmt: skip
    printed_condition = out.hypotheses[-1].holds
    _norm_recursion(i, out, k, s)
    rows = []
    for l in range(1, i.L):
        norms = i.norms_sq(i.F(l)) / (s.c * i.n[l])
        low, high = float(norms.min()), float(norms.max())
        if as_printed(i):
            note = "needs a first pre-activation of variance σ_0², and ‖x‖² = d gives ν_0²"
            out.at_least(f"min_i ‖α^({l})‖² ≥ c m_{l}/2, as printed", rounded(low, i.n[l]), 0.5,
                         note=note, erratum=True, key="least-norm", l=l)  # fmt: skip
            out.at_most(f"max_i ‖α^({l})‖² ≤ 3c m_{l}/2, as printed", rounded(high, i.n[l]), 1.5,
                        note=note, erratum=True, key="largest-norm", l=l)  # fmt: skip
        scaled = _rescaled(i, s, seed=i.seed)[l] / (s.c * i.n[l])
        inner = s.h(l, 0) / (2 * s.h(hidden, 0))
        rows.append((l, low, high, float(scaled.min()), float(scaled.max()), 1 - inner, 1 + inner))
    out.table("‖α^(l)(x_i)‖²/(c m_l)", ("l", "least, x as given", "largest", "least, ‖x‖² = c d",
              "largest", "1 − h_C(l)/2h_C(L)", "1 + h_C(l)/2h_C(L)"), rows)  # fmt: skip
    _band_rates(i, out, s, bool(printed_condition))


def _band_rates(i: Instance, out: Findings, s: Setting, printed_condition: bool) -> None:
    """How often draws of the weights stay within the bands of Lemma 4.2, at ‖x‖² = c d."""
    hidden = i.L - 1
    # the inner band of layer l is 1 ± h_C(l)/2h_C(L), the outer 1 ± ½
    widths = {"outer": [0.5] * hidden, "inner": [
        s.h(l, 0) / (2 * s.h(hidden, 0)) for l in range(1, i.L)
    ]}  # fmt: skip
    met = dict.fromkeys(widths, 0)
    trials = min(i.trials, _TRIALS)
    for trial in range(trials):
        found = _rescaled(i, s, seed=i.seed + 1 + trial)
        off = [float((found[l] / (s.c * i.n[l]) - 1).abs().max()) for l in range(1, i.L)]
        for which, allowed in widths.items():
            met[which] += all(o <= a for o, a in zip(off, allowed, strict=True))
    promised = 1 - 2 * i.N * sum(1 / i.n[l] ** 2 for l in range(1, i.L))
    # ‖φ(z)²‖_ψ1 is of the order of σ_0², which the printed condition takes to be 1
    large = s.sigma_sq > 1
    h = s.h(hidden, 0) * max(1.0, s.sigma_sq)
    needed = max(8 * h**2 / s.c**2, 4 * h / s.c)
    root = math.sqrt(min(i.n[1 : i.L]))
    if large:
        out.hypothesis("max(8h²/c², 4h/c) ≤ √m with h = σ_0² h_C, which scales as c does",
                       needed <= root, needed, root)  # fmt: skip
    claimed = promised if printed_condition and as_printed(i) else None
    note = "corrected: the first variance is then σ_0²"
    for which, band in (("outer", "½ … 3/2"), ("inner", "1 ± h_C(l)/2h_C(L)")):
        if which == "outer" or hidden > 1:
            out.rate(f"‖α^(l)‖²/(c m_l) within {band} with ‖x‖² = c d, over weights", met[which],
                     trials, claimed, note, erratum=large and needed > root)  # fmt: skip


def _norm_recursion(i: Instance, out: Findings, k: Layers, s: Setting) -> None:
    phi = k.phi
    M = i.slope
    if M is None:
        out.note(f"sup |φ′| of {phi} is not known: the recursion of the proof has no constant.")
        return
    for l in range(1, i.L):
        a = k.variances(l)
        if phi.at_zero == 0.0:
            moments = hermite_coefficients(phi, 0, a).second_moment
            gap = (moments - s.c).abs() - M**2 * (a - s.sigma_sq).abs()
            at = int(gap.argmax())
            bar = 1e-10 * (s.c + float(moments[at]))
            out.at_most(f"|c_(φ,√a_i) − c_(φ,σ0)| ≤ M²|a_i − σ_0²|, layer {l}",
                        Quantity(abs(float(moments[at]) - s.c), bar),
                        rounded(M**2 * abs(float(a[at]) - s.sigma_sq), i.n[l - 1]), key="variance",
                        l=l)  # fmt: skip
        before, after = (torch.linalg.vector_norm(i.F(j), dim=1) for j in (l - 1, l))
        bias = float(i.model.biases[l - 1].detach().norm()) if len(i.model.biases) else 0
        reach = abs(phi.at_zero) * math.sqrt(i.n[l]) + M * (i.op_norm(l).value * before + bias)
        at = int((after - reach).argmax())
        out.at_most(f"‖α^({l})‖ ≤ |φ(0)|√m + M‖W^({l})‖‖α^({l - 1})‖",
                    rounded(after[at], 8 * i.n[l]), rounded(reach[at], 8 * sum(i.n)), key="growth",
                    l=l)  # fmt: skip


def _rescaled(i: Instance, s: Setting, seed: int) -> list[Tensor]:
    """‖f_l(x)‖² for l = 0 … L−1 with every row of X scaled to ‖x‖² = c d; other weights by seed."""
    model = i.model if seed == i.seed else i.network.sample(seed)
    norms = torch.linalg.vector_norm(i.X, dim=1, keepdim=True).clamp_min(1e-300)
    X = i.X * (math.sqrt(s.c * i.d) / norms)
    with torch.no_grad():
        return [i.norms_sq(f) for f in model.layers(X.to(model.dtype))[0]]


@PAPER.statement(
    "lemma-4.3",
    title="Lower bounds on λ_l",
    section="Lemma 4.3",
    sentence="λ_(l+1) ≥ (μ_r²/6c)^l (σ_0²/2)^{3rl} λ_1 for every r > 0.",
    latex=r"\lambda_{l+1}\ge\Big(\frac{(\mu_{r,0}^{(l)})^2}{6c_{\phi,\sigma_0}}\Big)^l\Big(\frac{\sigma_0^2}2\Big)^{3rl}\lambda_1",
    level2=(
        "λ_(l+1) ≥ min μ_r² λ_min(C^{∘r}) ≥ min μ_r² min a^(r−1) ν²λ_min(A^(l)A^(l)ᵀ)/m_l always; "
        "≥ Π_j[min μ_r² ν²/4 min a^(r−1)] λ_1 on Lemma 4.1's event"
    ),
)
def lemma_4_3(i: Instance, out: Findings) -> None:
    require(i, out)
    k = layers(i)
    rows = []
    for l in range(i.L - 1):
        value = k.smallest(l + 1)
        on_event = all(k.event(j) for j in range(1, l + 1))
        for r in ORDERS:
            mu_sq = k.mu_sq(l + 1, r)
            power = k.lambda_power(l + 1, r)
            out.at_least(f"λ_{l + 1} ≥ min μ_{r}² λ_min(C^∘{r})", value, mu_sq * power,
                         key="hermite", l=l + 1, r=r)  # fmt: skip
            gram = i.lambda_features(l) * i.beta[l + 1] ** 2
            out.at_least(f"λ_min(C^∘{r}) ≥ min a^{r - 1} ν²λ_min(A^({l})A^({l})ᵀ)/m, layer {l + 1}",
                         power, k.least_power(l + 1, r) * gram, key="power", l=l + 1, r=r)  # fmt: skip
            if l == 0:
                continue
            printed, corrected = k.printed(l, r), k.corrected(l, r)
            if as_printed(i):
                out.at_least(f"λ_{l + 1}, r = {r}, as printed", value, k.smallest(1) * printed,
                             erratum=True, key="printed", l=l + 1, r=r)  # fmt: skip
            if on_event:
                out.at_least(f"λ_{l + 1}, r = {r}, corrected, on the event", value,
                             corrected * k.smallest(1), key="corrected", l=l + 1, r=r)  # fmt: skip
            ratio = value.value / k.smallest(1).value if k.smallest(1).value else math.nan
            rows.append((l + 1, r, printed.value, corrected.value, ratio))
    if rows:
        out.table("Constants before λ_1", ("l", "r", "printed", "corrected", "λ_l/λ_1"), rows)
    ladder = [quantity(k.mu_sq(1, r) * k.lambda_power(1, r)) for r in ORDERS]
    together = Quantity(0.0)
    for part in ladder:
        together = together + part
    out.at_least(f"λ_1 ≥ Σ_(r ≤ {ORDERS[-1]}) min μ_r² λ_min(C^∘r), r ≥ 1", k.smallest(1), together,
                 key="ladder")  # fmt: skip


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
    out.hypothesis("φ(0) = 0, as Theorem 4.1 asks and its own sigmoid experiment does not have",
                   at_zero == 0.0 or None, at_zero, 0.0)  # fmt: skip
    for l in range(1, i.L):
        for r in ORDERS:
            bound = k.mu_sq(l, r) * k.least_power(l, r) * k.lambda_power(l, 1)
            out.at_least(f"λ_{l} ≥ min μ_{r}² min a^{r - 1} λ_min(C)", k.smallest(l), bound,
                         key="hermite-variance", l=l, r=r)  # fmt: skip
        mean = second_moment(i.network.activation, float(k.variances(l).mean()))
        mu_0 = float(k.coefficients(l).values[:, 0].square().min())
        bar = U * 1e4 * mean
        out.scaling(f"μ_0² at layer {l}", Quantity(mu_0, bar), "O", max(mean, 1e-300), "E φ²",
                    key="mean-coefficient", l=l)  # fmt: skip
