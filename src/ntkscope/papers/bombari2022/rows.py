"""Bombari et al. 2022, Lemmas B.5, E.2 and E.3: the rows of J̃, with explicit constants for Gaussian data.

For x ~ N(0, I) let L_f and L_b be Lipschitz constants of x ↦ f_(L-2)(x) and x ↦ D_Lφ′(g_(L-1)(x)), and
q(x) = f̃(x)ᵀ M b̃(x). Then |∇q| ≤ L_f|M b̃| + L_b|Mᵀf̃|. Poincaré's inequality gives Cov b̃ ⪯ L_b² I, so
E|∇q|² ≤ (2 L_fL_b‖M‖_F)² ≥ Var q; and since the log-Sobolev inequality of N(0, I) gives
‖h − E h‖_p ≤ √(p − 1) ‖|∇h|‖_p for p ≥ 2, applied to q and to |M b̃|, |Mᵀf̃|,

    ‖q − E q‖_p ≤ 2 L_fL_b (√(p − 1)‖M‖_F + (p − 1)‖M‖),

whence P(|q − E q| ≥ e·that) ≤ e^(−p) (Markov), and ‖⟨J̃_x, M⟩‖_ψ1 ≤ 5.6 e L_fL_b for ‖M‖_F = 1: at
t = 1.4·4e L_fL_b the p-th term of E exp(|q − E q|/t) is at most ((p − 1)/p)^p/1.4^p ≤ 1/(e·1.4^p), and all
but the zeroth sum to 0.79 < 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.data import Gaussian
from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import sample_variance
from ntkscope.papers.bombari2022.centred import Centred, begin
from ntkscope.papers.bombari2022.psi import sub_exponential_norm
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, sample_mean

PSI = 5.6 * math.e
MOMENTS = (2, 3, 5)


def lipschitz_product(i: Instance) -> float | None:
    """L_fL_b of the weights at hand; None where M or M′ is not known, or for residual networks."""
    if i.slope is None or i.slope_of_derivative is None or i.network.residual:
        return None
    features = math.prod(i.slope * i.op_norm(l).value for l in range(1, i.L - 1))
    top = float(i.weight(i.L).abs().max()) * i.slope_of_derivative
    return features * top * i.op_norm(i.L - 1).value * features


def _explicit(i: Instance, out: Findings) -> float | None:
    """L_fL_b where the explicit constants hold: Gaussian data."""
    if not isinstance(i.distribution, Gaussian):
        out.note("The explicit constants are for Gaussian data.")
        return None
    return lipschitz_product(i)


@PAPER.statement(
    "lemma-b.5",
    title="Quadratic forms of centred features and signals",
    section="§3.1 (Lemma B.5)",
    sentence="f̃ᵀMb̃ concentrates around its mean at the scale L_fL_b‖M‖_F with an exponential tail.",
    latex=r"\mathbb{P}\big(|\tilde f^\top M\tilde b-\mathbb{E}|\ge 2eL_fL_b(\sqrt{p-1}\,\|M\|_F+(p-1)\|M\|)\big)\le e^{-p}",
    level2="Gaussian data: this tail over fresh data at p = 2, 3, 5, and Var ≤ (2L_fL_b‖M‖_F)², for three M",
)
def quadratic_forms(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    unit = _explicit(i, out)
    F, B = c.reference
    for name, M in _forms(i, c).items():
        values = ((F @ M) * B).sum(dim=1)
        frobenius, norm = (float(torch.linalg.matrix_norm(M, o)) for o in ("fro", 2))
        deviation = sample_variance(values).sqrt()
        size = unit if unit is not None else lipschitz_product(i)
        if size is None:
            raise NotComputable("L_f and L_b are not known")
        out.conclusion(f"standard deviation of f̃ᵀMb̃, M {name}", deviation, "O", size * frobenius,
                       "L_fL_b‖M‖_F", key="deviation", form=name)  # fmt: skip
        if unit is None:
            continue
        out.at_most(f"Var f̃ᵀMb̃ ≤ (2L_fL_b‖M‖_F)², M {name}", sample_variance(values),
                    (2 * unit * frobenius) ** 2, key="variance", form=name)  # fmt: skip
        moved = (values - values.mean()).abs()
        for p in MOMENTS:
            reach = 2 * math.e * unit * (math.sqrt(p - 1) * frobenius + (p - 1) * norm)
            inside = int((moved <= reach + 6 * sample_mean(values).spread).sum())
            out.event(f"|f̃ᵀMb̃ − its mean| within the bound at p = {p}, M {name}", inside, len(moved),
                      1 - math.exp(-p), "1 − e^(−p)", over="data", key="tail", form=name, p=p)  # fmt: skip


def _forms(i: Instance, c: Centred) -> dict[str, Tensor]:
    generator = i.generator("lemma-b.5")
    shape = (i.n[i.L - 2], i.n[i.L - 1])
    dense = torch.randn(shape, generator=generator).double() / math.sqrt(math.prod(shape))
    F, B = (m[:1024] for m in c.reference)
    lead = [torch.linalg.eigh(m.T @ m)[1][:, -1] for m in (F, B)]
    found = {"dense": dense, "rank one": torch.outer(lead[0], lead[1])}
    if c.product_mean_sq > 0:
        found["E[f̃ ⊗ b̃]"] = c.product_mean / math.sqrt(c.product_mean_sq)
    return found


@PAPER.statement(
    "lemma-e.2",
    title="Norms of the rows of J̃",
    section="§3.1 (Lemma E.2)",
    sentence="‖J̃_i‖ is of order √(n_(L-2) n_(L-1)) for every sample.",
    latex=r"\|(\tilde J_{L-2})_i\|_2=\Theta(\sqrt{n_{L-2}n_{L-1}})",
    level2="Gaussian data: ‖E[f̃ ⊗ b̃]‖ ≤ L_fL_b √min(d, n_(L-2), n_(L-1)), so the last centring moves a row little",
)
def row_norms(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    rows = c.kernel("full").diagonal().clamp_min(0).sqrt()
    root = i.beta[i.L] * math.sqrt(i.n[i.L - 2] * i.n[i.L - 1])
    for name, key, order, value in (
        ("min", "least", "Ω", rows.min()),
        ("max", "largest", "O", rows.max()),
    ):
        bar = Quantity(float(value) ** 2, c.rounding).sqrt()
        out.conclusion(f"{name}_i ‖J̃_i‖", bar, order, root, "β_L√(n_(L-2) n_(L-1))", key=key)  # type: ignore[arg-type]
    unit = _explicit(i, out)
    if unit is not None:
        mean = squared_mean(*c.reference).sqrt()
        bound = unit * math.sqrt(min(i.d, i.n[i.L - 2], i.n[i.L - 1]))
        out.at_most("‖E[f̃ ⊗ b̃]‖ ≤ L_fL_b √min(d, n_(L-2), n_(L-1))", mean, bound, key="mean-row")


@PAPER.statement(
    "lemma-e.3",
    title="Sub-exponential norm of the rows of J̃",
    section="§3.1 (Lemma E.3)",
    sentence="Given the weights the rows of J̃ are sub-exponential, with a norm that the largest |W_L| scales.",
    latex=r"\psi=\max_i\|(\tilde J_{L-2})_i\|_{\psi_1}\le 5.6\,e\,L_fL_b\quad(x\sim N(0,I))",
    level2="Gaussian data: the ψ₁ norm along every direction tried is at most 5.6e L_fL_b",
)
def row_tails(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    psi = sub_exponential_norm(c)
    unit = _explicit(i, out)
    if unit is not None:
        out.conclude_at_most("ψ, from below ≤ 5.6e L_fL_b", psi, PSI * unit, key="explicit")
    top = float(i.weight(i.L).abs().max())
    out.conclusion("ψ, from below", psi, "O", top, "max|W_L|", key="psi",
                   note="the largest over the directions tried; the supremum may be larger")  # fmt: skip


def squared_mean(left: Tensor, right: Tensor, groups: int = 16) -> Quantity:
    """‖E[l ⊗ r]‖_F² from independent rows (M, a), (M, b), without the bias of squaring a sampled mean.

    Products of the means of different groups of rows; the standard error is the jackknife's over them.
    """
    count = min(groups, len(left))
    if count < 3:
        raise NotComputable("too few draws for a squared mean")
    means = torch.stack([
        a.T @ b / len(a)
        for a, b in zip(left.tensor_split(count), right.tensor_split(count), strict=True)
    ])  # fmt: skip
    gram = torch.einsum("iab,jab->ij", means, means)
    off = gram - torch.diag(gram.diagonal())
    total = float(off.sum())
    value = total / (count * (count - 1))
    left_out = (total - 2 * off.sum(dim=1)) / ((count - 1) * (count - 2))
    variance = (count - 1) / count * float((left_out - left_out.mean()).square().sum())
    return Quantity(value, len(left) * 2.0**-53 * float(gram.abs().max()), math.sqrt(variance))
