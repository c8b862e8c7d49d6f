"""Nguyen et al. 2021, App. F: norms of products of weights and active sets."""

from __future__ import annotations

import itertools
import math

import torch

from ntkscope.lipschitz import feature_map
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.walks import pairs, pass_error, piecewise, walk
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, rounded
from ntkscope.statements.shared import chains, scales
from ntkscope.statements.shared.relu import norm_bound


@PAPER.statement(
    "eq-42",
    title="Operator norm of Π W_l Σ_l",
    section="eq. 42 of v1",
    sentence="‖Π_{l=p}^q W_l Σ_l(x)‖²_op is at most of the order of Π n_l / min n_l Π β_l².",
    latex=(
        r"\Big\|\prod_{l=p}^{q}W_l\Sigma_l(x)\Big\|_{\mathrm{op}}^2=O\Big(\frac{\prod_{l=p-1}^{q}n_l}"
        r"{\min_{l\in[p-1,q]}n_l}\prod_{l=p}^{q}\beta_l^2\Big)"
    ),
    level2="submultiplicativity at every cut j, and ≤ Π M²‖W_l‖²_op",
)
def operator_norms(i: Instance, out: Findings) -> None:
    norms = {}
    for p, q in _spans(1, i.L - 1):
        product = chains.weight_product(i, 0, p, q)
        norms[p, q] = rounded(torch.linalg.matrix_norm(product, 2), 4 * sum(i.n[p - 1 : q + 1]))
    for (p, q), norm in norms.items():
        size = math.prod(float(norms[l, l]) for l in range(p, q + 1))
        # the product's own rounding, relative to the norms of its factors
        norm = Quantity(norm.value, norm.error + 4 * sum(i.n[p - 1 : q + 1]) * U * size)
        squared = norm**2
        predicted = scales.operator(i, p, q)
        out.scaling(f"‖Π_(l={p}…{q}) W_lΣ_l(x_1)‖²_op", squared, "O", predicted,
                    "Πn_l/min n_l Πβ_l²", key="size", p=p, q=q)  # fmt: skip
        for j in range(p, q):
            out.at_most(f"‖Π_({p}…{q})‖² ≤ ‖Π_({p}…{j})‖² ‖Π_({j + 1}…{q})‖²", squared,
                        (norms[p, j] * norms[j + 1, q]) ** 2, key="cut", p=p, q=q, j=j)  # fmt: skip
        if i.slope is not None:
            bound = norm_bound(i, i.slope, p, q)
            out.at_most(f"‖Π_({p}…{q}) W_lΣ_l(x_1)‖² ≤ Π M²‖W_l‖²", squared, bound, key="product",
                        p=p, q=q)  # fmt: skip


def _spans(first: int, last: int) -> list[tuple[int, int]]:
    return [(p, q) for p in range(first, last + 1) for q in range(p, last + 1)]


@PAPER.statement(
    "eq-58",
    title="Lipschitz constants of sub-maps",
    section="eq. 58 of v1",
    sentence="‖h_{p→q}‖²_Lip is at most of the order of Π n_l / min n_l Π log n_l Π β_l² (printed without the square).",
    latex=(
        r"\|h_{p\to q}\|_{\mathrm{Lip}}^2=O\Big(\frac{\prod_{l=p}^{q}n_l}{\min_{l\in[p,q]}n_l}"
        r"\prod_{l=p+1}^{q-1}\log(n_l)\prod_{l=p+1}^{q}\beta_l^2\Big)"
    ),
    level2="‖h_{p→q}‖ ≤ M‖h_{p→j}‖‖h_{j→q}‖ at every cut j (lower end against upper ends)",
)
def submaps(i: Instance, out: Findings) -> None:
    for p, q in itertools.combinations(range(i.L + 1), 2):
        interval = i.lipschitz(q, p)
        predicted = scales.lipschitz(i, p, q)
        out.scaling(f"‖h_({p}→{q})‖²_Lip, lower", interval.lower**2, "O", predicted,
                    "Πn_l/min n_l Πlog n_l Πβ_l²", key="size", p=p, q=q)  # fmt: skip
        if i.slope is None or i.network.residual:
            continue
        for j in range(p + 1, q):
            bound = i.slope * i.lipschitz(j, p).upper * i.lipschitz(q, j).upper
            bar = pass_error(feature_map(i.model, q, p), bound)
            out.at_most(f"‖h_({p}→{q})‖ ≤ M‖h_({p}→{j})‖‖h_({j}→{q})‖",
                        Quantity(interval.lower, bar), bound, key="cut", p=p, q=q, j=j)  # fmt: skip
    out.note("App. F.1 of v1 writes ‖h‖_Lip where its right sides are those of ‖h‖²_Lip.")


@PAPER.statement(
    "eq-59",
    title="Finitely many Jacobians",
    section="eq. 59 of v1",
    sentence="‖h_{p→q}‖_Lip is at most the largest ‖(Π W_l Σ_l) W_q‖_op over the R activation patterns.",
    latex=(
        r"\|h_{p\to q}\|_{\mathrm{Lip}}\le\max_{(\Sigma_{p+1},\dots,\Sigma_{q-1})\in\mathcal D}"
        r"\Big\|\Big(\prod_{l=p+1}^{q-1}W_l\Sigma_l\Big)W_q\Big\|_{\mathrm{op}}"
    ),
    needs=(needs.relu, needs.plain),
    level2="on every segment between samples ‖h(x) − h(y)‖/‖x − y‖ ≤ max over the patterns met of ‖(ΠW_lΣ_l)W_q‖",
)
def finitely_many(i: Instance, out: Findings) -> None:
    piecewise(i)
    for p, q in itertools.combinations(range(i.L + 1), 2):
        if q == p + 1:
            continue
        mapping = feature_map(i.model, q, p)
        interval = i.lipschitz(q, p)
        bar = pass_error(mapping, interval.uppers.get("product", interval.upper))
        for a, b in pairs(i)[:1]:
            walked = walk(mapping, i.F(p)[a], i.F(p)[b], bar)
            if walked is None:
                continue
            steepest = mapping.jacobian(walked.middle[int(walked.speed.argmax())])
            norm = Quantity(float(torch.linalg.matrix_norm(steepest, 2)), bar)
            name = f"h_({p}→{q}), {len(walked.middle)} pieces"
            out.at_most(f"‖h(x) − h(y)‖/‖x − y‖ ≤ max‖(ΠW_lΣ_l)W_{q}‖, {name}", walked.quotient,
                        norm, key="patterns", p=p, q=q)  # fmt: skip
            out.at_most(f"‖(ΠW_lΣ_l)W_{q}‖ ≤ upper bound, {name}", norm, interval.upper,
                        key="pattern-bound", p=p, q=q)  # fmt: skip


@PAPER.statement(
    "eq-60",
    title="The ½-net step",
    section="eq. 44 and 60 of v1",
    sentence="‖A‖²_op is at most twice the largest ‖yᵀA‖² over a ½-net of the sphere.",
    latex=r"\|A\|_{\mathrm{op}}^2\le2\sup_{y\in N_{1/2}}\|y^\top A\|_2^2,\quad A=\Big(\prod W_l\Sigma_l\Big)W_q",
    needs=(needs.plain,),
    level2=(
        "the worst point of a ½-net: ‖yᵀA‖² ≥ (7/8)²‖A‖² for every unit y within ½ of the top left "
        "singular vector, so the factor 64/49 would do"
    ),
)
def half_net(i: Instance, out: Findings) -> None:
    for q in range(1, i.L + 1):
        A = chains.jacobian(i, 0, 0, q)
        U_left, values, _ = torch.linalg.svd(A, full_matrices=True)
        if float(values[0]) == 0:
            continue
        squared = rounded(values[0] ** 2, 8 * max(A.shape))
        # the unit vector at distance exactly ½ of the top one that sees least of A
        cosine, sine = 7.0 / 8.0, math.sqrt(15.0) / 8.0
        y = U_left[:, 0]
        if len(U_left) > 1:
            y = cosine * y + sine * U_left[:, -1]
        seen = Quantity(float((y @ A).square().sum()), 8 * sum(A.shape) * U * squared.value)
        out.at_most(f"‖A‖² ≤ 2‖yᵀA‖² at the worst y, q = {q}", squared, seen * 2, key="net", q=q)
        out.at_most(f"(7/8)²‖A‖² ≤ ‖yᵀA‖², q = {q}", squared * (49 / 64), seen, key="net-tight",
                    q=q)  # fmt: skip
    out.note("Eq. 60 has ‖h‖_Lip unsquared before it; App. F.1 means ‖h‖²_Lip.")


@PAPER.statement(
    "eq-61",
    title="Size of z = yᵀ Π W_l Σ_l",
    section="eq. 45 and 61 of v1",
    sentence="‖z‖² is at most ‖Π W_l Σ_l‖²_op, of the order of Π n_l / min n_l Π β_l².",
    latex=(
        r"\|z\|_2^2\le\Big\|\prod_{l=p+1}^{q-1}W_l\Sigma_l\Big\|_{\mathrm{op}}^2=O\Big("
        r"\frac{\prod_{l=p}^{q-1}n_l}{\min_{l\in[p,q-1]}n_l}\prod_{l=p+1}^{q-1}\beta_l^2\Big)"
    ),
    level2="‖yᵀΠW_lΣ_l‖² ≤ ‖ΠW_lΣ_l‖²_op for random unit y",
)
def row_sizes(i: Instance, out: Findings) -> None:
    for p, q in _spans(1, i.L - 1):
        product = chains.weight_product(i, 0, p, q)
        norm = rounded(torch.linalg.matrix_norm(product, 2), 4 * max(product.shape))
        y = torch.randn(i.n[p - 1], generator=i.generator(f"y {p} {q}"), dtype=torch.float64)
        z = (y / y.norm()) @ product
        length = 4 * sum(product.shape)
        measured = rounded(z.square().sum(), length, float(norm) ** 2)
        out.at_most(f"‖z‖² ≤ ‖Π_({p}…{q}) W_lΣ_l‖²_op", measured, norm**2, key="row", p=p, q=q)
        out.scaling(f"‖z‖², l = {p}…{q}", measured, "O", scales.operator(i, p, q),
                    "Πn_l/min n_l Πβ_l²", key="size", p=p, q=q)  # fmt: skip
