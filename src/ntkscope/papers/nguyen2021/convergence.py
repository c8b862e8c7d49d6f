"""Nguyen et al. 2021, §3: how far a finite network is from the limiting kernel."""

from __future__ import annotations

import math

import torch

from ntkscope.networks.network import Network
from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.papers.nguyen2021.limit import limit_eigenvalue
from ntkscope.statements import needs
from ntkscope.statements.eigenvalues import power_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, quantity, rounded
from ntkscope.statements.shared.wide import unit_error, unit_kernel, wide

UNIT_FREE = (needs.relu, needs.plain, needs.gaussian)


@PAPER.statement(
    "eq-4",
    title="Convergence to the limiting kernel",
    section="eq. 4",
    sentence="The kernel times Π 2/n_l converges to K^(L) in probability as the widths grow.",
    latex=r"\Big(\prod_{l=1}^{L-1}\frac{2}{n_l}\Big)\bar K^{(L)}\xrightarrow{p}K^{(L)}",
    needs=UNIT_FREE,
    level2="K^(L)_ii = L‖x_i‖²; |λ_j(νK̄) − λ_j(K^(L))| ≤ ‖νK̄ − K^(L)‖ (Weyl); the error over three widths",
)
def convergence(i: Instance, out: Findings) -> None:
    finite, limit = unit_kernel(i), wide(i)
    difference = finite - limit.K
    worst = float(torch.linalg.matrix_norm(difference, 2))
    bar = unit_error(i) + limit.error(limit.K)
    gaps = (torch.linalg.eigvalsh(finite) - torch.linalg.eigvalsh(limit.K)).abs().max()
    noise = (
        4
        * i.N
        * U
        * float(torch.linalg.matrix_norm(finite, 2) + torch.linalg.matrix_norm(limit.K, 2))
    )
    out.at_most("max_j |λ_j(νK̄) − λ_j(K^(L))| ≤ ‖νK̄ − K^(L)‖₂", float(gaps),
                Quantity(worst, bar + noise), key="weyl")  # fmt: skip
    gap = (limit.K.diagonal() - i.L * i.norms_sq(i.X)).abs().max()
    out.at_most("max_i |K^(L)_ii − L‖x_i‖²|", float(gap), Quantity(0.0, limit.error(limit.K)),
                key="diagonal")  # fmt: skip
    relative = float(difference.norm() / limit.K.norm())
    narrow = min(i.n[1 : i.L])
    out.scaling("‖νK̄ − K^(L)‖_F/‖K^(L)‖_F", relative, "O", 1 / math.sqrt(narrow), "1/√min n_l",
                key="distance")  # fmt: skip
    rows = _width_sweep(i)
    out.table("Mean relative error over 4 draws, 8 samples", ("widths ×", "min n_l", "error"), rows)
    slope = math.log(rows[-1][2] / rows[0][2]) / math.log(rows[-1][1] / rows[0][1])
    out.note(f"Measured: the error falls like n^{slope:.2f}; n^(−1/2) is expected.")


def _width_sweep(i: Instance) -> list[list[float]]:
    """(factor, smallest width, mean relative error) with all hidden layers widened together."""
    from ntkscope.kernels.empirical import empirical_ntk

    X = i.X[:8]
    target = wide(i).K[:8, :8]
    rows = []
    for factor in (1, 2, 4):
        hidden = [n * factor for n in i.n[1 : i.L]]
        net = Network([i.d, *hidden, 1], "relu", "unit")
        errors = []
        for draw in range(4):
            model = net.sample(i.generator(f"eq-4 {factor} {draw}"))
            K = empirical_ntk(model, X).dense() * net.ntk_normalization
            errors.append(float((K - target).norm() / target.norm()))
        rows.append([float(factor), float(min(hidden)), sum(errors) / 4])
    return rows


@PAPER.statement(
    "eq-19",
    title="Entrywise distance to the limit",
    section="eq. 19 of v1 (eq. 15 of the proceedings)",
    sentence="Each entry is within (L+1)ε of the limit when the widths are of order ε⁻⁴ poly(L).",
    latex=(
        r"\Big|\Big(\prod_{l=1}^{L-1}\frac2{n_l}\Big)\bar K_{ij}^{(L)}-K_{ij}^{(L)}\Big|\le(L+1)\varepsilon,"
        r"\quad\min_l n_l=\Omega(\varepsilon^{-4}\,\mathrm{poly}(L))"
    ),
    needs=UNIT_FREE,
    level2="‖νK̄ − K^(L)‖_F ≤ N max_ij |·|, the step from eq. 19 to eq. 20",
)
def entrywise(i: Instance, out: Findings) -> None:
    difference = unit_kernel(i) - wide(i).K
    worst = float(difference.abs().max())
    out.at_most("‖νK̄ − K^(L)‖_F ≤ N max|νK̄_ij − K^(L)_ij|", rounded(difference.norm(), i.N * i.N),
                rounded(i.N * worst, 2), key="frobenius")  # fmt: skip
    # the cited theorem normalises its inputs, so entries count relative to the largest ‖x‖²
    epsilon = worst / ((i.L + 1) * max(float(i.norms_sq(i.X).max()), 1e-300))
    narrow = min(i.n[1 : i.L])
    if epsilon > 0:
        out.scaling("min n_l for the measured ε", narrow, "Ω", epsilon**-4, "ε⁻⁴",
                    "the rate that is quoted", key="width-quoted")  # fmt: skip
        out.scaling("min n_l for the measured ε", narrow, "Θ", epsilon**-2, "ε⁻²",
                    "the rate that is measured", key="width-measured")  # fmt: skip
    out.note(f"ε = max|νK̄ − K|/((L+1) max‖x‖²) = {epsilon:.3g}.")


@PAPER.statement(
    "eq-20",
    title="Finite width against the limit",
    section="eq. 20 of v1 (eq. 16 of the proceedings)",
    sentence="λ_min of the normalised kernel is within half of λ_min of the limit.",
    latex=(
        r"\tfrac12\lambda_{\min}(K^{(L)})\le\lambda_{\min}\Big(\Big(\prod_{l=1}^{L-1}\frac2{n_l}\Big)\bar K^{(L)}\Big)"
        r"\le\tfrac32\lambda_{\min}(K^{(L)})"
    ),
    needs=UNIT_FREE,
    level2="Weyl: |λ_min(νK̄) − λ_min(K^(L))| ≤ ‖νK̄ − K^(L)‖_F; the factors ½, 3/2 where that is ≤ λ_min(K^(L))/2",
)
def within_half(i: Instance, out: Findings) -> None:
    finite, limit = unit_kernel(i), wide(i)
    distance = Quantity(float((finite - limit.K).norm()), unit_error(i) + limit.error(limit.K))
    small, target = unit_lambda(i), limit_eigenvalue(i, "K", limit.K)
    out.at_least("λ_min(νK̄) ≥ λ_min(K^(L)) − ‖νK̄ − K^(L)‖_F", small, target - distance,
                 key="weyl-below")  # fmt: skip
    out.at_most("λ_min(νK̄) ≤ λ_min(K^(L)) + ‖νK̄ − K^(L)‖_F", small, target + distance,
                key="weyl-above")  # fmt: skip
    close = distance.value <= 0.5 * target.value
    out.hypothesis("‖νK̄ − K^(L)‖_F ≤ λ_min(K^(L))/2 (widths of order N⁴)", True if close else None,
                   distance.value, 0.5 * target.value,
                   "" if close else "the widths do not reach it")  # fmt: skip
    narrow = min(i.n[1 : i.L])
    if not close and target.value > 0:
        width = narrow * (2 * distance.value / target.value) ** 2
        out.note(
            f"The distance falls like n^(−1/2) (eq-4): min n_l = {width:.2g} would do, N⁴ is {i.N**4:.2g}."
        )
    if close:
        out.at_least("λ_min(νK̄) ≥ ½ λ_min(K^(L))", small, target * 0.5, key="half")
        out.at_most("λ_min(νK̄) ≤ 3/2 λ_min(K^(L))", small, target * 1.5, key="three-halves")
    out.scaling("λ_min(νK̄)", small, "Θ", target.value, "λ_min(K^(L))", key="within")
    out.note("Eq. 16 and 20 print Π_{l=1}^{L} 2/n_l; the product ends at L−1.")


def unit_lambda(i: Instance) -> Quantity:
    """λ_min of the normalised kernel of weights of variance 1."""

    def make() -> Quantity:
        found = quantity(power_eigenvalue(unit_kernel(i), 1, 0))
        return Quantity(found.value, found.error + unit_error(i))

    return i.held("λ unit", make)


@PAPER.statement(
    "eq-21",
    title="Scaling when all layers are wide",
    section="eq. 21 of v1 (eq. 17 of the proceedings)",
    sentence="λ_min of the kernel is of the order of d Π n_l when all widths are of order N⁴.",
    latex=r"\lambda_{\min}(\bar K^{(L)})=\Theta\Big(d\prod_{l=1}^{L-1}n_l\Big),\quad\min_l n_l=\Omega(N^4)",
    needs=UNIT_FREE,
    level2="λ_min(K̄) ≤ min_i K̄_ii, and K̄_ii against its mean L‖x_i‖² Π n_l/2",
)
def all_wide(i: Instance, out: Findings) -> None:
    finite = unit_kernel(i)
    out.order_of("min n_l = Ω(N⁴)", min(i.n[1 : i.L]), float(i.N) ** 4, at_least=True)
    halves = math.prod(n / 2.0 for n in i.n[1 : i.L])
    value = unit_lambda(i) * halves
    least = Quantity(float(finite.diagonal().min()), unit_error(i)) * halves
    out.at_most("λ_min(K̄) ≤ min_i K̄_ii", value, least, key="least-diagonal")
    predicted = i.d * math.prod(float(n) for n in i.n[1 : i.L])
    out.scaling("λ_min(K̄), unit weights", value, "Θ", predicted, "d Π n_l", key="size")
    mean = i.L * float(i.norms_sq(i.X).mean()) * halves
    out.scaling("mean_i K̄_ii", float(finite.diagonal().mean()) * halves, "Θ", mean,
                "L mean‖x‖² Π n_l/2", key="diagonal")  # fmt: skip
