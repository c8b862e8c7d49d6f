"""Nguyen, Mondelli and Montúfar 2021, eq. 5: the gradient bound.

Equations are numbered as in the first arXiv version, which has all the proofs; lemmas and theorems
have one number in both versions.
"""

from __future__ import annotations

import torch

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, quantity
from ntkscope.statements.shared.relu import natural_scale


@PAPER.statement(
    "eq-5",
    title="Gradient bound",
    section="eq. 5",
    sentence="The squared gradient of the square loss is at least 2 λ_min(K) times the loss, at any Y.",
    latex=r"\|\nabla\Phi(\theta)\|_2^2 = (F_L-Y)^\top \bar K^{(L)} (F_L-Y) \ge 2\lambda_{\min}(\bar K^{(L)})\,\Phi(\theta)",
    needs=(),
    level2="‖∇Φ‖² = rᵀKr by autograd, and ≥ 2 λ_min(K) Φ, for three Y",
)
def gradient_bound(i: Instance, out: Findings) -> None:
    generator = i.generator("eq-5")
    output = i.G(i.L)[:, 0]
    labels = {
        "Y = 0": torch.zeros_like(output),
        "Y ~ N(0, I)": torch.randn(i.N, generator=generator, dtype=torch.float64).to(output),
        # the residual that the bound is tight for
        "F_L − Y = v_min": output - torch.linalg.eigh(i.K)[1][:, 0],
    }
    for name, Y in labels.items():
        residual = output - Y
        loss = 0.5 * float(residual.square().sum())
        with torch.enable_grad():
            live = 0.5 * (i.model(i.X.to(i.model.dtype))[:, 0] - Y).square().sum()
            gradients = torch.autograd.grad(live, list(i.model.parameters()))
        gradient_sq = float(sum(g.square().sum() for g in gradients))
        # rᵀKr and ‖Jᵀr‖² differ by the rounding of K, of φ′ and of the sums
        forming = i.kernel.forming_error() + 8 * sum(i.n) * U * i.N * natural_scale(i)
        bar = 2 * (forming + i.lambda_K.error) * 2 * loss
        measured = Quantity(gradient_sq, bar)
        through = Quantity(float(residual @ (i.K @ residual)), bar)
        out.equal(f"‖∇Φ‖² = rᵀKr, {name}", measured, through, key="autograd", labels=name)
        out.at_least(f"‖∇Φ‖² ≥ 2 λ_min(K) Φ, {name}", measured, quantity(i.lambda_K) * (2 * loss),
                     key="bound", labels=name)  # fmt: skip
