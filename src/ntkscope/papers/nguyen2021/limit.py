"""Nguyen et al. 2021, §3: the limiting kernel and its smallest eigenvalue."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.activations.hermite import Quadrature
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import assumptions
from ntkscope.statements.shared.relu import relu_coefficient
from ntkscope.statements.shared.wide import Wide, wide


def limit_eigenvalue(i: Instance, name: str, matrix: Tensor) -> Quantity:
    """λ_min of a matrix of the limiting kernel, with the error of its entries."""

    def make() -> Quantity:
        found = power_eigenvalue(matrix, 1, 0)
        return Quantity(found.value, found.error + wide(i).error(matrix))

    return i.held(("λ limit", name), make)


@PAPER.statement(
    "eq-8",
    title="Hermite coefficients of ReLU",
    section="eq. 8",
    sentence="For even r ≥ 2, μ_r(σ) = (−1)^((r−2)/2) (r−3)!!/√(2π r!).",
    latex=r"\mu_r(\sigma)=\frac{1}{\sqrt{2\pi}}(-1)^{\frac{r-2}{2}}\frac{(r-3)!!}{\sqrt{r!}}",
    needs=(needs.relu,),
    level2="eq. 8 against quadrature for r = 2, 4, …, 12; μ_r = 0 for r = 3, 5, 7; Σ μ_r² ≤ E σ² = 1/2",
)
def hermite_coefficients(i: Instance, out: Findings) -> None:
    phi = i.network.activation
    # by quadrature, since the closed form is the claim
    found = Quadrature(phi, False).coefficients(torch.ones(1, dtype=torch.float64), 12)

    def coefficient(r: int) -> Quantity:
        return Quantity(float(found.values[0, r]), found.error + 64 * U)

    if not i.relu:
        rows = [[r, coefficient(r).value] for r in range(9)]
        out.table(f"Hermite coefficients of {phi} at variance 1", ("r", "μ_r"), rows)
        raise NotComputable("eq. 8 is about ReLU")
    for r in (0, 1, 2, 4, 6, 8, 10, 12):
        out.equal(f"μ_{r}", coefficient(r), rounded(relu_coefficient(r), 16), key="coefficient",
                  r=r)  # fmt: skip
    for r in (3, 5, 7):
        out.equal(f"μ_{r} = 0", coefficient(r), 0.0, key="vanishing", r=r)
    total = sum(relu_coefficient(r) ** 2 for r in range(41))
    out.at_most("Σ_(r≤40) μ_r² ≤ E σ(z)²", rounded(total, 64), 0.5, key="bessel")


@PAPER.statement(
    "lemma-3.1",
    title="Matrix form of the limiting kernel",
    section="Lemma 3.1 and eq. 17",
    sentence="The limiting NTK is Σ_l G^(l) ∘ Ġ^(l+1) ∘ … ∘ Ġ^(L), with G and Ġ in entrywise or in matrix form.",
    latex=(
        r"K^{(L)}=G^{(L)}+\sum_{l=1}^{L-1}G^{(l)}\circ\dot G^{(l+1)}\circ\cdots\circ\dot G^{(L)},\quad "
        r"G^{(l)}=2\,\mathbb E_{w\sim N(0,I_N)}\big[\sigma(\sqrt{G^{(l-1)}}w)\sigma(\sqrt{G^{(l-1)}}w)^\top\big]"
    ),
    needs=(needs.plain,),
    level2=(
        "recursion (15) = sum (17), entrywise; √G√G = G, and the matrix form of G, Ġ (over draws "
        "of w) = the entrywise form; for ReLU Ġ_ii = 1, G_ii = ‖x_i‖²"
    ),
)
def matrix_form(i: Instance, out: Findings) -> None:
    limit = wide(i)
    scale = float(limit.K.diagonal().max())
    bar = limit.relative * scale
    recursion = limit.G[0].clone()
    for dot, gram in zip(limit.dot, limit.G[1:], strict=True):
        recursion = recursion * dot + gram
    total = torch.stack(limit.terms()).sum(dim=0)
    out.at_most("max|K by (15) − K by (17)|", float((recursion - total).abs().max()),
                Quantity(0.0, bar), key="recursion")  # fmt: skip
    out.at_most("max|K by (17) − K^(L)|", float((total - limit.K).abs().max()), Quantity(0.0, bar),
                key="sum")  # fmt: skip
    inputs = _inputs(i)
    out.at_most("max|G^(1) − XXᵀ|/…", float((limit.G[0] - inputs).abs().max()),
                Quantity(0.0, limit.relative * float(inputs.diagonal().max())), key="inputs")  # fmt: skip
    if limit.normalised:
        norms = i.norms_sq(i.X)
        for l, gram in enumerate(limit.G[1:], 2):
            gap = float((gram.diagonal() - norms).abs().max())
            out.at_most(f"max|G^({l})_ii − ‖x_i‖²|", gap, Quantity(0.0, bar), key="diagonal", l=l)
        for l, dot in enumerate(limit.dot, 2):
            alive = norms > 0
            gap = float((dot.diagonal()[alive] - 1).abs().max()) if bool(alive.any()) else 0.0
            out.at_most(f"max|Ġ^({l})_ii − 1|", gap, Quantity(0.0, 16 * U),
                        key="derivative-diagonal", l=l)  # fmt: skip
    for l in range(1, i.L):
        _square_root_form(i, out, limit, l)


def _inputs(i: Instance) -> Tensor:
    gram = i.gram(0)
    return gram / i.d if not i.relu and i.network.parameterization == "ntk" else gram


def _square_root_form(i: Instance, out: Findings, limit: Wide, l: int) -> None:
    """G^(l+1) and Ġ^(l+1) as expectations over w ~ N(0, I_N), along one random direction."""
    beta_sq = 1.0 if limit.normalised else i.network.betas[l - 1] ** 2
    covariance = limit.G[l - 1] * beta_sq
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T  # rounding below 0, if any
    root[covariance.diagonal() == 0] = 0.0  # a kink sits at 0, and rounding would pick a side
    scale = float(values.abs().max())
    gap = float(torch.linalg.matrix_norm(root @ root - covariance, 2))
    noise = 64 * i.N * U * scale + limit.error(covariance)
    out.at_most(f"‖√G√G − G‖, layer {l}", gap, Quantity(0.0, noise), key="root", l=l)
    phi = i.network.activation
    g = i.generator(f"square root {l}")
    draws = root @ torch.randn(i.N, i.samples, generator=g, dtype=torch.float64)
    probe = torch.randn(i.N, generator=g, dtype=torch.float64) / math.sqrt(i.N)
    ntk = not limit.normalised and i.network.parameterization == "ntk"
    size = 2.0 if limit.normalised else (1.0 if ntk else float(i.n[l]))
    after = 1.0 if limit.normalised else i.network.betas[l] ** 2
    for name, function, matrix, factor in (
        ("G", phi.phi, limit.G[l], size),
        ("Ġ", phi.derivative, limit.dot[l - 1], size * after),
    ):
        squares = factor * (probe @ function(draws)).square()
        spread = float(squares.std()) / math.sqrt(i.samples)
        exact = Quantity(float(probe @ matrix @ probe), limit.relative * float(matrix.abs().sum()))
        out.equal(f"uᵀ{name}^({l + 1})u, matrix form over {i.samples} draws",
                  Quantity(float(squares.mean()), 0.0, spread), exact, key="matrix-form", of=name,
                  l=l + 1)  # fmt: skip


@PAPER.statement(
    "theorem-3.2",
    title="Smallest eigenvalue of the limiting NTK",
    section="Theorem 3.2 and App. B",
    sentence="λ_min of the limiting NTK is of order d, between μ_r² Ω(d) and L O(d).",
    latex=r"L\,O(d)\ge\lambda_{\min}(K^{(L)})\ge\mu_r(\sigma)^2\,\Omega(d)",
    needs=(needs.relu, needs.plain),
    level2=(
        "the chain of App. B: λ_min(K) ≥ Σ_l λ_min(G^(l)) ≥ λ_min(G^(2)) ≥ 2μ_r² λ_min(X^{*r}…)/max‖x‖^{2(r-1)} "
        "≥ Gershgorin; λ_min(K) ≤ tr K/N = L mean‖x_i‖²"
    ),
)
def limiting_eigenvalue(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    if i.distribution is not None:
        out.hypothesis("E x = 0", i.distribution.moments().centered)
    limit = wide(i)
    value = limit_eigenvalue(i, "K", limit.K)
    schur = Quantity(0.0)
    for l, gram in enumerate(limit.G):
        least = Quantity(1.0)
        product = torch.ones(i.N, dtype=torch.float64)
        for dot in limit.dot[l:]:
            product = product * dot.diagonal()
        least = rounded(product.min(), 64 * i.L)
        schur = schur + limit_eigenvalue(i, f"G{l}", gram) * least
    out.at_least("λ_min(K) ≥ Σ_l λ_min(G^(l)) min_i Π Ġ_ii", value, schur, key="schur")
    mean = rounded(limit.K.diagonal().mean(), i.N + int(limit.relative / U) + 1)
    out.at_most("λ_min(K) ≤ tr(K)/N", value, mean, key="trace")
    if not limit.normalised:
        raise NotComputable("the rest of App. B uses the homogeneity of ReLU")
    norms = i.norms_sq(i.X)
    out.equal("tr(K)/N = L mean‖x_i‖²", mean, rounded(i.L * norms.mean(), i.N + i.d),
              key="trace-value")  # fmt: skip
    second = limit_eigenvalue(i, "G1", limit.G[1])
    below = schur + Quantity(0.0, sum(limit.error(g) for g in limit.G))
    out.at_least("Σ_l λ_min(G^(l)) ≥ λ_min(G^(2))", below, second, key="second-gram")
    for r in (2, 4, 6):
        _gershgorin_chain(i, out, r, second)
    out.scaling("λ_min(K^(L)), upper", value, "O", i.L * i.d, "L d", key="upper")
    out.scaling("λ_min(K^(L)), lower, r = 2", value, "Ω", relu_coefficient(2) ** 2 * i.d, "μ_2² d",
                key="lower", r=2)  # fmt: skip
    out.note("App. B drops the factor 2 of eq. 12 in eq. 36: the bound holds with 2μ_r².")


def _gershgorin_chain(i: Instance, out: Findings, r: int, second: Quantity) -> None:
    largest_row = i.max_norm_sq(i.X)
    if largest_row.value == 0:
        return
    factor = 2 * relu_coefficient(r) ** 2
    power = i.lambda_power(0, r)
    hermite = power * factor / largest_row ** (r - 1)
    out.at_least(f"λ_min(G^(2)) ≥ 2μ_{r}² λ_min(X^(*{r})…)/max‖x‖^{2 * (r - 1)}", second, hermite,
                 key="hermite", r=r)  # fmt: skip
    gram = i.gram(0)
    across = float((gram - torch.diag(gram.diagonal())).abs().max())
    smallest = float(gram.diagonal().min())
    circle = smallest**r - (i.N - 1) * across**r
    scale = float(gram.diagonal().max()) ** r * i.N
    out.at_least(f"λ_min(X^(*{r})…) ≥ min‖x‖^{2 * r} − (N−1)max|⟨x_i,x_j⟩|^{r}", power,
                 rounded(circle, r * (i.d + 4), scale), key="gershgorin", r=r)  # fmt: skip
    if i.N > 1 and r == 2:
        needed = i.d * i.N ** (-1 / (r - 0.5))
        out.order_of(f"eq. 35: max|⟨x_i,x_j⟩| ≤ dN^(−1/(r−0.5)), r = {r}", across, needed,
                     at_least=False)  # fmt: skip
