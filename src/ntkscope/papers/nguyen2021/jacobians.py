"""Nguyen et al. 2021, §6: Lipschitz constants of the feature maps and their Jacobians."""

from __future__ import annotations

import math

import torch

from ntkscope.lipschitz import FeatureMap, feature_map
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.walks import pairs, pass_error, piecewise, walk
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.shared import chains, scales, segments


@PAPER.statement(
    "lemma-6.1",
    title="Lipschitz constant and Jacobians",
    section="Lemma 6.1",
    sentence="‖g_k‖_Lip is the largest Jacobian norm over inputs whose pre-activations are all nonzero.",
    latex=(
        r"\|g_k\|_{\mathrm{Lip}}=\max_{z:\ \mathcal A_{1\to k-1}(z)\in\{-1,+1\}^{\sum n_l}}\|J(g_k)(z)\|_{\mathrm{op}}"
    ),
    needs=(needs.relu,),
    level2=(
        "‖g_k(x) − g_k(y)‖ ≤ max_pieces ‖J(z)u‖ ‖x − y‖ along segments, ≤ the certified upper "
        "bound; J by eq. 33 equals autograd's"
    ),
)
def jacobian_norm(i: Instance, out: Findings) -> None:
    zeros = i.kernel.near_kinks
    out.hypothesis("g_lj(x_i) ≠ 0 at every sample, to rounding", zeros == 0, zeros, 0)
    piecewise(i)
    for k in range(1, i.L + 1):
        mapping, interval = feature_map(i.model, k), i.lipschitz(k)
        bar = pass_error(mapping, interval.uppers.get("product", interval.upper))
        _check_chain_rule(i, out, k, mapping, bar)
        for a, b in pairs(i):
            walked = walk(mapping, i.X[a], i.X[b], bar)
            if walked is None:
                continue
            steepest = Quantity(float(walked.speed.max()), bar)
            name = f"k = {k}, samples {a}, {b}, {len(walked.middle)} pieces"
            out.at_most(f"‖g(x) − g(y)‖/‖x − y‖ ≤ max‖J(z)u‖, {name}", walked.quotient, steepest,
                        key="segment", k=k, a=a, b=b)  # fmt: skip
            out.at_most(f"max‖J(z)u‖ ≤ upper bound of ‖g_{k}‖_Lip, {name}", steepest,
                        interval.upper, key="segment-bound", k=k, a=a, b=b)  # fmt: skip
        out.at_most(f"largest ‖J(g_{k})(z)‖ found ≤ upper bound", interval.lower,
                    Quantity(interval.upper, bar), key="bound", k=k)  # fmt: skip
        out.note(
            f"‖g_{k}‖_Lip in [{interval.lower:.5g}, {interval.upper:.5g}]"
            + (", exact" if interval.exact else "")
        )


def _check_chain_rule(i: Instance, out: Findings, k: int, mapping: FeatureMap, bar: float) -> None:
    """Eq. 33 at x_1 against automatic differentiation."""
    if not i.plain or i.at_kinks:
        return
    z = i.X[0].clone().requires_grad_()
    with torch.enable_grad():
        probe = torch.randn(i.n[k], generator=i.generator("probe"), dtype=torch.float64)
        (pulled,) = torch.autograd.grad((segments.value(mapping, z[None])[0] * probe).sum(), z)
    by_product = chains.jacobian(i, 0, 0, k) @ probe
    gap = float((pulled - by_product).norm())
    out.at_most(f"‖Jᵀv − (Π W_lΣ_l)W_{k} v‖ at x_1", gap,
                Quantity(0.0, 4 * bar * float(probe.norm())), key="chain-rule", k=k)  # fmt: skip


@PAPER.statement(
    "theorem-6.2",
    title="Lipschitz constant of the feature maps",
    section="Theorem 6.2",
    sentence="‖g_k‖²_Lip is at most of the order of Π n_l / min n_l Π log n_l Π β_l².",
    latex=(
        r"\|g_k\|_{\mathrm{Lip}}^2=O\Big(\frac{\prod_{l=0}^{k}n_l}{\min_{l\in[0,k]}n_l}"
        r"\prod_{l=1}^{k-1}\log(n_l)\prod_{l=1}^{k}\beta_l^2\Big)"
    ),
    level2="largest Jacobian found ≤ ‖g_k‖_Lip ≤ Π M^{k-1}‖W_l‖_op, the bound that the theorem improves",
)
def lipschitz_scaling(i: Instance, out: Findings) -> None:
    for k in range(1, i.L + 1):
        interval = i.lipschitz(k)
        _below_product(i, out, k)
        predicted = scales.lipschitz(i, 0, k)
        expression = "Πn_l/min n_l Πlog n_l Πβ_l²"
        out.scaling(f"‖g_{k}‖²_Lip, lower", interval.lower**2, "O", predicted, expression,
                    key="lower", k=k)  # fmt: skip
        if not interval.exact:
            out.scaling(f"‖g_{k}‖²_Lip, upper", interval.upper**2, "O", predicted, expression,
                        key="upper", k=k)  # fmt: skip
        product = math.prod(i.beta[l] ** 2 * max(i.n[l - 1], i.n[l]) for l in range(1, k + 1))
        if k > 1:
            out.note(
                f"k = {k}: the expression is {predicted / product:.3g} of that of the product of "
                "operator norms, Π β_l² max(n_{l-1}, n_l)."
            )


def _below_product(i: Instance, out: Findings, k: int) -> None:
    """The interval's lower end lies below the product of operator norms."""
    slope = i.slope
    if slope is None or i.network.residual:
        return
    product = Quantity(slope ** (k - 1))
    for l in range(1, k + 1):
        product = product * i.op_norm(l)
    interval = i.lipschitz(k)
    exact = 1e-9 * interval.upper if interval.exact else 0.0
    bar = pass_error(feature_map(i.model, k), product.value) + exact
    out.at_most(f"‖J(g_{k})‖ found ≤ M^{k - 1} Π‖W_l‖_op", Quantity(interval.lower, bar), product,
                key="product", k=k)  # fmt: skip
