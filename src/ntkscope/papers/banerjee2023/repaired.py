"""Banerjee et al. 2023: Lemma 4.3 and Theorems 4.1 and 4.2 with constants that follow from the proof."""

from __future__ import annotations

from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.layers import layers
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import quantity


@PAPER.statement(
    "repaired",
    title="The chain with constants that hold",
    section="Theorems 4.1 and 4.2, Lemma 4.3, corrected",
    sentence="On Lemma 4.1's event λ_min(K) ≥ ¼ max_r Π_l [min μ_r² · ν²/4 · min a^{r−1}] λ_1, r = 1 allowed.",
    latex=(
        r"\lambda_{l+1}\ge\prod_{j\le l}\Big[\min_i(\mu_r^{[a_{j,i}]})^2\,\tfrac{\nu^2}{4}\min_ia_{j,i}^{r-1}\Big]"
        r"\lambda_1,\quad a_{j,i}=\nu^2\|\alpha^{(j)}(x_i)\|^2/m_j"
    ),
    needs=(needs.plain,),
    level2="λ_(l+1), λ_min(A^(l)A^(l)ᵀ) and λ_min(K) against corrected constants; any φ, widths, data",
)
def repaired(i: Instance, out: Findings) -> None:
    k = layers(i)
    lambda_1, top = k.smallest(1), i.L - 1
    stands = True
    for l in range(1, i.L):
        features = i.lambda_features(l)
        name = f"Lemma 4.1's event: λ_min(A^({l})A^({l})ᵀ) ≥ m_{l} λ_{l}/4"
        event = k.event(l)
        stands = stands and event is True
        out.hypothesis(name, event, features.value, i.n[l] * k.smallest(l).value / 4)
        if l > 1 and stands:  # at l = 1 it is the hypothesis
            r, constant = k.best(l - 1)
            out.conclude_at_least(
                f"λ_min(A^({l})A^({l})ᵀ) ≥ m_{l}/4 · c λ_1, c = {constant.value:.4g} (r = {r})",
                features, constant * lambda_1 * (i.n[l] / 4), key="features", l=l, r=r,
            )  # fmt: skip
        if l < top and stands:
            r, constant = k.best(l)
            out.conclude_at_least(f"λ_{l + 1} ≥ c λ_1, c = {constant.value:.4g} (r = {r})",
                                  k.smallest(l + 1), constant * lambda_1, key="lambda", l=l + 1,
                                  r=r)  # fmt: skip
    if stands:
        r, constant = k.best(top - 1)
        share = constant * (i.network.scales[top] ** 2 * i.n[top] / 4)
        out.conclude_at_least(f"λ_min(K) ≥ c_0 λ_1, c_0 = {share.value:.4g} (r = {r})",
                              quantity(i.lambda_K), share * lambda_1, key="kernel", r=r)  # fmt: skip
    out.note("c is a product over the layers: min μ_r² · ν²/4 · min a^{r−1} for each.")
