"""Fan and Wang 2020: the limit laws of the conjugate kernel and of the NTK."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ntkscope.papers.fanwang2020 import PAPER
from ntkscope.papers.fanwang2020.law import LinearWidthLaw, Which
from ntkscope.papers.fanwang2020.setting import law, setting
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, rounded

_SHARES = (1.0, 0.1, 0.01)  # −z in units of the mean eigenvalue


@PAPER.statement(
    "conjugate-kernel",
    title="Law of the conjugate kernel",
    section="limit law of the CK",
    sentence="The spectrum of X_lᵀX_l tends to μ_l = MP_γ_l ⊠ ((1 − b²) + b² μ_(l−1)).",
    latex=r"\mu_\ell=\rho^{\mathrm{MP}}_{\gamma_\ell}\boxtimes\big((1-b_\sigma^2)+b_\sigma^2\cdot\mu_{\ell-1}\big)",
    level2="n^{-1} tr (CK + t)^{-1} at t = 1, 0.1 and 0.01 times the mean eigenvalue, against the law's",
)
def conjugate_kernel(i: Instance, out: Findings) -> None:
    found = setting(i, out)
    # the last term of the NTK, in its units
    matrix = found.grams[-1] * found.constants.factors[-1]
    _compare(i, out, matrix, law(i, found, "ck"), "ck")


@PAPER.statement(
    "tangent-kernel",
    title="Law of the NTK",
    section="limit law of the NTK",
    sentence="The spectrum of the NTK tends to the law with Stieltjes transform t_L((−z + r₊, q_0, …, q_(L−1), 1), (1, 0, …, 0)).",
    latex=r"m_{\mathrm{NTK}}(z)=t_L\big((-z+r_+,q_0,\ldots,q_{L-1},1),(1,0,\ldots,0)\big)",
    level2="n^{-1} tr (K + t)^{-1} at t = 1, 0.1 and 0.01 times the mean eigenvalue, against the law's",
)
def tangent_kernel(i: Instance, out: Findings) -> None:
    found = setting(i, out)
    _compare(i, out, i.K.to(torch.float64), law(i, found, "ntk"), "ntk")


def _compare(
    i: Instance, out: Findings, matrix: Tensor, made: LinearWidthLaw, which: Which
) -> None:
    values = torch.linalg.eigvalsh(matrix).numpy()
    mean = made.mean
    name = "CK" if which == "ck" else "K"
    for share in _SHARES:
        t = share * mean
        measured = Quantity(float((1 / (values + t)).mean()), i.N * 64 * U * values[-1] / t**2)
        expected = Quantity(made.resolvent_trace(t), 1e-6 / t)
        out.conclusion(f"n^{{-1}} tr ({name} + t)^{{-1}}, t = {share:g} of the mean", measured, "Θ",
                       expected, "the law's", key="resolvent", t=share)  # fmt: skip
    grid = np.geomspace(max(values[0], 1e-3 * mean) / 2, values[-1] * 1.2, 160)
    below = made.below(grid)
    distance = float(np.abs(below - np.searchsorted(values, grid) / i.N).max())
    out.note(f"Kolmogorov distance of the spectrum from the law, on 160 points: {distance:.3g}.")


@PAPER.statement(
    "linearisation",
    title="The NTK as a sum of conjugate kernels",
    section="linearisation of the NTK",
    sentence="‖K − (r₊ I + X_Lᵀ X_L + Σ_l q_l X_lᵀX_l)‖_F²/n → 0, q_l = b^{2(L−l)}, r₊ = Σ_l (a^{L−l} − q_l).",
    latex=(
        r"\frac1n\Big\|K-\Big(r_+I+X_L^\top X_L+\sum_{\ell=0}^{L-1}q_\ell X_\ell^\top X_\ell\Big)\Big\|_F^2\to0"
    ),
    level2="‖Δ‖_F²/n over (tr K/n)², and ‖Δ‖ over it, on this instance",
)
def linearisation(i: Instance, out: Findings) -> None:
    found = setting(i, out)
    made = sum(q * g for q, g in zip(found.constants.q, found.grams, strict=True))
    assert isinstance(made, Tensor)
    made = made + found.constants.shift * torch.eye(i.N, dtype=torch.float64)
    gap = i.K.to(torch.float64) - made
    mean = float(i.K.diagonal().mean())
    size = float(gap.square().sum()) / i.N
    out.conclusion("‖Δ‖_F²/n", rounded(size, 64 * sum(i.n), mean**2), "O", mean**2, "(tr K/n)²",
                   key="frobenius")  # fmt: skip
    top = float(torch.linalg.eigvalsh(gap).abs().max())
    out.step_order("‖Δ‖", rounded(top, 64 * i.N, mean), "O", mean, "tr K/n", key="operator")
    out.table("The sum", ("l", "q_l", "r₊"),
              [[l, q, found.constants.shift] for l, q in enumerate(found.constants.q)])  # fmt: skip
