"""Bombari et al. 2022, eq. 8-10 against autograd, and Corollary 4.1 (memorization)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import setting
from ntkscope.papers.bombari2022.kernel import autograd_length, gradients
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, rounded

_ROWS = 3


def _scale(i: Instance, row: int, k: int) -> float:
    """A bound on ‖f_k‖ times everything that is multiplied on the way back to layer k+1."""
    slope = max(1.0, *(float(i.network.activation.derivative(i.G(l)[row]).abs().max())
                       for l in range(1, i.L)))  # fmt: skip
    size = float(i.F(k)[row].norm()) * i.network.scales[k]
    for l in range(k + 2, i.L + 1):
        through = slope * float(torch.linalg.matrix_norm(i.weight(l), "fro"))
        size *= 1 + abs(i.network.residual) * through if i.network.residual else through
    return size


@PAPER.statement(
    "eq-8",
    title="The kernel as a Hadamard sum",
    section="eq. 8",
    sentence="JJᵀ is the sum over layers of F_kF_kᵀ ∘ B_(k+1)B_(k+1)ᵀ.",
    latex=r"JJ^\top=\sum_{k=0}^{L-1}K_k,\quad K_k=F_kF_k^\top\circ B_{k+1}B_{k+1}^\top",
    needs=(),
    level2="K_ij = ⟨∇f(x_i), ∇f(x_j)⟩ by autograd on the first rows",
)
def hadamard_sum(i: Instance, out: Findings) -> None:
    rows = range(min(i.N, _ROWS))
    flat = [torch.cat([g.reshape(-1) for g in gradients(i, row)]) for row in rows]
    for a in rows:
        for b in range(a, len(rows)):
            scale = sum(_scale(i, a, k) * _scale(i, b, k) for k in range(i.L))
            bar = rounded(1.0, autograd_length(i)).error * scale
            left = Quantity(float(i.K[a, b]), bar)
            out.equal(f"K_{a + 1}{b + 1} = ⟨∇f(x_{a + 1}), ∇f(x_{b + 1})⟩", left,
                      Quantity(float(flat[a] @ flat[b]), bar), key="autograd", a=a + 1, b=b + 1)  # fmt: skip
    out.note(f"By autograd on {len(rows)} rows; the full Jacobian is never formed.")


@PAPER.statement(
    "eq-9",
    title="Back-propagated signals",
    section="eq. 9",
    sentence="Row i of B_k is Σ_k(x_i) times the product of W_lΣ_l(x_i) for l > k, times W_L.",
    latex=r"(B_k)_i=\Sigma_k(x_i)\Big(\prod_{l=k+1}^{L-1}W_l\Sigma_l(x_i)\Big)W_L",
    needs=(),
    level2="‖(B_k)_i − the product, formed as matrices from the left‖ ≤ rounding",
)
def signals(i: Instance, out: Findings) -> None:
    if i.network.residual:
        raise NotComputable("eq. 9 is for networks without residual connections")
    phi = i.network.activation
    for row in range(min(i.N, 2)):
        for k in range(1, i.L):
            product = torch.diag(phi.derivative(i.G(k)[row]))
            scale = float(product.abs().max())
            for l in range(k + 1, i.L):
                product = (product @ i.weight(l)) * phi.derivative(i.G(l)[row])
                scale *= float(torch.linalg.matrix_norm(i.weight(l), "fro"))
                scale *= max(1.0, float(phi.derivative(i.G(l)[row]).abs().max()))
            direct = (product @ i.weight(i.L))[:, 0]
            scale *= float(i.weight(i.L).norm())
            error = float(torch.linalg.vector_norm(direct - i.B(k)[row]))
            bar = rounded(1.0, 4 * sum(i.n)).error * scale
            out.equal(f"(B_{k})_{row + 1} = Σ_{k}(ΠW_lΣ_l)W_L, distance", Quantity(error, bar), 0.0,
                      key="signals", k=k, row=row + 1)  # fmt: skip
    last = Quantity(float((i.B(i.L) - 1).abs().max()))
    out.equal("(B_L)_i = 1, distance", last, 0.0, key="last-signal")


@PAPER.statement(
    "eq-10",
    title="Rows of the Jacobian of the last hidden weights",
    section="eq. 10",
    sentence="Row i of J_(L-2) is f_(L-2)(x_i) ⊗ D_L φ′(g_(L-1)(x_i)).",
    latex=r"(J_{L-2})_i=f_{L-2}(x_i)\otimes\big(D_L\phi'(W_{L-1}^\top f_{L-2}(x_i))\big)",
    needs=(),
    level2="∂f/∂W_(L-1) by autograd equals the outer product on the first rows",
)
def jacobian_rows(i: Instance, out: Findings) -> None:
    k = i.L - 2
    alpha = i.network.residual or 1.0
    for row in range(min(i.N, _ROWS)):
        by_autograd = gradients(i, row)[k]
        slope = alpha * i.network.activation.derivative(i.G(i.L - 1)[row])
        product = torch.outer(i.F(k)[row], i.weight(i.L)[:, 0] * slope) * i.network.scales[k]
        error = float(torch.linalg.matrix_norm(by_autograd - product, "fro"))
        bar = rounded(1.0, autograd_length(i)).error * _scale(i, row, k)
        out.equal(f"row {row + 1}: ∂f/∂W_(L-1) = f ⊗ D_Lφ′, distance", Quantity(error, bar), 0.0,
                  key="rows", row=row + 1)  # fmt: skip


@PAPER.statement(
    "corollary-4.1",
    title="Memorization",
    section="Corollary 4.1",
    sentence="With λ_min(K) > 0 a network of this shape fits any N labels to any accuracy.",
    latex=r"\forall Y,\ \forall\varepsilon>0\ \exists\theta:\ \|F_L(\theta)-Y\|_2\le\varepsilon",
    level2="Jθ′ = Y for θ′ = JᵀK⁻¹Y, and ‖θ′‖² = YᵀK⁻¹Y ≤ ‖Y‖²/λ_min(K)",
)
def memorization(i: Instance, out: Findings) -> None:
    setting(i, out)
    full = i.lambda_K.lower > 0
    out.hypothesis("λ_min(K) > 0", full, i.lambda_K.value, 0.0)
    if not full:
        raise NotComputable("K is singular to working precision, so the construction has no start")
    Y = torch.randn(i.N, generator=i.generator("corollary-4.1"), dtype=torch.float64)
    factor = torch.linalg.cholesky(i.K.double())
    a = torch.cholesky_solve(Y[:, None], factor)
    a = (a + torch.cholesky_solve(Y[:, None] - i.K.double() @ a, factor))[:, 0]
    direction = pull_back(i, a)
    norm_sq = sum(float(t.square().sum()) for t in direction)
    size = float(Y.square().sum())
    top = float(i.kernel.diagonal().sum())
    bar = i.kernel.forming_error() + autograd_length(i) * U * top
    spread = bar * float(a.square().sum()) + autograd_length(i) * U * norm_sq
    out.equal("‖θ′‖² = YᵀK⁻¹Y", Quantity(norm_sq, spread), Quantity(float(Y @ a), spread),
              key="norm")  # fmt: skip
    out.at_most("‖θ′‖² ≤ ‖Y‖²/λ_min(K)", Quantity(norm_sq, spread),
                Quantity(size / i.lambda_K.value, size * i.lambda_K.error / i.lambda_K.lower**2),
                key="norm-bound")  # fmt: skip
    start = _outputs(i, None, 0.0)
    rows = []
    for exponent in range(1, 9):
        epsilon = 10.0**-exponent
        h = (_outputs(i, direction, epsilon) - start) / epsilon
        rows.append((epsilon, float(torch.linalg.vector_norm(h - Y)) / math.sqrt(size)))
    best = min(rows, key=lambda r: r[1])
    out.table("‖h_ε − Y‖/‖Y‖, h_ε = (F_L(θ_0 + εθ′) − F_L(θ_0))/ε", ("ε", "relative error"), rows)
    out.scaling("‖h_ε − Y‖/‖Y‖ at the best ε", best[1], "O", best[0], "ε",
                note="h_ε is a network of the same depth and twice the hidden widths",
                key="distance")  # fmt: skip
    out.note("With biases or residual connections the doubled network is another one; J is theirs.")


def pull_back(i: Instance, a: Tensor) -> list[Tensor]:
    """Jᵀa, one tensor a parameter."""
    with torch.enable_grad():
        value = i.model(i.X.to(i.model.dtype))[:, 0] @ a.to(i.model.dtype)
        return [g.detach() for g in torch.autograd.grad(value, list(i.model.parameters()))]


def _outputs(i: Instance, direction: list[Tensor] | None, step: float) -> Tensor:
    """F_L(θ_0 + step·direction) on the data."""
    names = [name for name, _ in i.model.named_parameters()]
    values = [p.detach() for p in i.model.parameters()]
    if direction is not None:
        values = [p + step * t for p, t in zip(values, direction, strict=True)]
    with torch.no_grad():
        parameters = dict(zip(names, values, strict=True))
        out = torch.func.functional_call(i.model, parameters, (i.X.to(i.model.dtype),))
    return out[:, 0]
