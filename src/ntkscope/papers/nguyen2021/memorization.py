"""Nguyen et al. 2021, Corollary 4.2: the doubled network that memorizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.nguyen2021 import PAPER
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity, rounded
from ntkscope.statements.shared import assumptions
from ntkscope.statements.shared.relu import width_conditions


@PAPER.statement(
    "corollary-4.2",
    title="Memorization capacity",
    section="Corollary 4.2 and App. D.1",
    sentence="A network of twice the hidden widths fits any labels to any accuracy.",
    latex=r"\forall Y,\ \forall\varepsilon>0,\ \exists\theta:\ \|F_L(\theta)-Y\|_2\le\varepsilon",
    level2="‖θ′‖² = YᵀK⁻¹Y ≤ ‖Y‖²/λ_min(K); the doubled network h_ε within 10⁻³‖Y‖ of Y, where float64 finds it",
)
def memorization(i: Instance, out: Findings) -> None:
    assumptions.require(i, out)
    widest = max(range(1, i.L), key=lambda k: i.n[k])
    width_conditions(i, out, widest)
    lam = i.lambda_K
    p = i.network.n_parameters
    out.note(f"{p} parameters are {p / i.N:.3g} a sample; rank J = N asks for one, N neurons in one "
             f"layer for {i.n[widest - 1] + i.n[widest + 1]} at least.")  # fmt: skip
    # of the θ_0 that the proof may choose, the sampled one is tried
    if i.kernel.near_kinks:
        raise NotComputable("the sampled θ_0 lies on a kink, where h_ε has no limit")
    if not lam.status.trustworthy:
        raise NotComputable(
            "the Jacobian at the sampled θ_0 is not of full rank, as far as float64 can tell"
        )
    Y = torch.randn(i.N, generator=i.generator("labels"), dtype=torch.float64)
    v = torch.cholesky_solve(Y[:, None], torch.linalg.cholesky(i.K))[:, 0]
    size = float(Y @ v)
    largest_eigenvalue = float(torch.linalg.matrix_norm(i.K, 2))
    condition = largest_eigenvalue / lam.value
    bar = 8 * i.N * U * condition * abs(size)
    out.at_most("‖θ′‖² = YᵀK⁻¹Y ≤ ‖Y‖²/λ_min(K)", Quantity(size, bar),
                rounded(Y.square().sum(), i.N) / quantity(lam), tautology=True, key="norm-bound")  # fmt: skip
    errors = _doubled_errors(i, Y, v)
    out.table("h_ε against Y", ("ε", "‖h_ε − Y‖/‖Y‖", "iterated"), errors)
    best = min(min(e[1], e[2]) for e in errors)
    # a construction that float64 does not find refutes no existence: open then, never violated
    out.conclude_at_most("min_ε ‖h_ε − Y‖/‖Y‖ ≤ 10⁻³", best if best <= 1e-3 else math.nan, 1e-3,
                         key="distance")  # fmt: skip
    out.note(f"Best ‖h_ε − Y‖/‖Y‖ = {best:.2g}, condition number {condition:.2g}.")


def _doubled_errors(i: Instance, Y: Tensor, v: Tensor) -> list[list[float]]:
    """(ε, ‖h_ε − Y‖/‖Y‖ for θ′ = JᵀK⁻¹Y, the same after θ′ ← θ′ + JᵀK⁻¹(Y − h_ε))."""
    parameters = {name: p.detach() for name, p in i.model.named_parameters()}
    base = i.G(i.L)[:, 0]
    factor = torch.linalg.cholesky(i.K)
    direction = _pull_back(i, v)
    # every layer moves by this share of its own norm at most: the layers' scales are free of each other
    reach = min(
        float(parameters[name].norm() / t.norm())
        for name, t in direction.items()
        if float(t.norm()) > 0
    )
    rows = []
    for relative in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        eps = relative * reach

        def h(theta: dict[str, Tensor], eps: float = eps) -> Tensor:
            moved = {name: p + eps * theta[name] for name, p in parameters.items()}
            return (torch.func.functional_call(i.model, moved, (i.X,))[:, 0] - base) / eps

        with torch.no_grad():
            residual = Y - h(direction)
        first = float(residual.norm() / Y.norm())
        theta, best = direction, first
        for _ in range(8):
            step = _pull_back(i, torch.cholesky_solve(residual[:, None], factor)[:, 0])
            theta = {name: theta[name] + step[name] for name in theta}
            with torch.no_grad():
                residual = Y - h(theta)
            best = min(best, float(residual.norm() / Y.norm()))
        rows.append([eps, first, best])
    return rows


def _pull_back(i: Instance, v: Tensor) -> dict[str, Tensor]:
    """Jᵀv as a dictionary of parameters."""
    with torch.enable_grad():
        names, tensors = zip(*i.model.named_parameters(), strict=True)
        total = (i.model(i.X)[:, 0] * v).sum()
        gradients = torch.autograd.grad(total, list(tensors))
    return dict(zip(names, gradients, strict=True))
