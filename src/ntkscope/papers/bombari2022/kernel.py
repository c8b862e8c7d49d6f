"""Bombari et al. 2022: the kernel and its terms, Theorem 3.1."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import setting, size
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U, quantity, rounded


@PAPER.statement(
    "loewner",
    title="The kernel dominates its terms",
    section="§3.1 after eq. 9",
    sentence="K minus K_(L-2) is positive semidefinite, so λ_min(K) ≥ λ_min(K_(L-2)).",
    latex=r"K\succeq K_{L-2},\qquad \lambda_{\min}(K)\ge\lambda_{\min}(K_{L-2})",
    needs=(),
    level2="λ_min(K − K_k) ≥ 0 and λ_min(K) ≥ λ_min(K_k) for every k",
)
def dominates(i: Instance, out: Findings) -> None:
    forming = i.kernel.forming_error()
    names = [t.name for t in i.kernel.terms]
    for k in range(i.L):
        part = i.kernel.term(names.index(f"W_{k + 1}")).dense()
        rest = smallest_eigenvalue(i.K - part)
        bar = rest.error + 2 * forming + 2 * U * float(i.K.diagonal().sum())
        mark = f"K_{k}" + (" = K_(L-2)" if k == i.L - 2 else "")
        out.at_least(f"λ_min(K − {mark}) ≥ 0", Quantity(rest.value, bar), 0.0, key="dominates", k=k)
        out.at_least(f"λ_min(K) ≥ λ_min({mark})", i.lambda_K, i.lambda_term(k), key="term", k=k)


@PAPER.statement(
    "theorem-3.1",
    title="Smallest eigenvalue under minimum over-parameterization",
    section="Theorem 3.1, eq. 6-7",
    sentence="λ_min(K) is at least of order n_(L-2) n_(L-1) and at most of order d n_(L-1).",
    latex=r"\lambda_{\min}(K)=\Omega(n_{L-2}n_{L-1}),\qquad \lambda_{\min}(K)=\mathcal{O}(d\,n_{L-1})",
    level2="λ_min(K_(L-2)) ≤ λ_min(K) ≤ min_i K_ii ≤ K_11",
)
def smallest_eigenvalue_bounds(i: Instance, out: Findings) -> None:
    setting(i, out)
    value = quantity(i.lambda_K)
    out.at_least("λ_min(K) ≥ λ_min(K_(L-2))", value, i.lambda_term(i.L - 2), key="term", k=i.L - 2)
    diagonal = i.kernel.diagonal()
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    out.at_most("λ_min(K) ≤ min_i K_ii", value, rounded(diagonal.min(), length),
                key="shared.least-diagonal")  # fmt: skip
    out.at_most("λ_min(K) ≤ K_11", value, rounded(diagonal[0], length), key="shared.first-diagonal")
    out.scaling("λ_min(K)", value, "Ω", size(i), "β_L² n_(L-2) n_(L-1)", key="lower")
    upper = i.beta[i.L] ** 2 * i.d * i.n[i.L - 1]
    out.scaling("λ_min(K)", value, "O", upper, "β_L² d n_(L-1)", key="upper")
    out.scaling("λ_min(K_(L-2))", i.lambda_term(i.L - 2), "Ω", size(i), "β_L² n_(L-2) n_(L-1)",
                key="term-size")  # fmt: skip
    out.note("The paper has β_L constant; it is kept here so that other last layers compare.")


@PAPER.statement(
    "eq-16",
    title="Upper bound by a diagonal entry",
    section="eq. 16",
    sentence="λ_min(K) is at most K_11, the squared norm of one sample's gradient.",
    latex=r"\lambda_{\min}(K)\le (JJ^\top)_{11}=\sum_{l=0}^{L-1}\|(F_l)_1\|_2^2\,\|(B_{l+1})_1\|_2^2",
    needs=(),
    level2="λ_min(K) ≤ K_ii for all i, K_11 = Σ‖F_l‖²‖B_(l+1)‖² = ‖∇f(x_1)‖² by autograd",
)
def diagonal_bound(i: Instance, out: Findings) -> None:
    setting(i, out)
    diagonal = i.kernel.diagonal()
    length = max(t.inner for t in i.kernel.terms) + len(i.kernel.terms) + 1
    out.at_most("λ_min(K) ≤ min_i K_ii", i.lambda_K, rounded(diagonal.min(), length),
                key="shared.least-diagonal")  # fmt: skip
    total = 0.0
    for k in range(i.L):
        f, b = (float(m[0].square().sum()) for m in (i.F(k), i.B(k + 1)))
        bias = b if len(i.model.biases) else 0.0
        total += f * b * i.network.scales[k] ** 2 + bias
        out.scaling(f"‖(F_{k})_1‖²", f, "O", i.n[k], f"n_{k}", key="features", k=k)
        out.scaling(f"‖(B_{k + 1})_1‖²", b, "O",
                    i.beta[i.L] ** 2 * i.n[i.L - 1] if k < i.L - 1 else 1.0,
                    "β_L² n_(L-1)" if k < i.L - 1 else "1", key="signals", k=k)  # fmt: skip
    exact = rounded(total, 2 * length)
    out.equal("K_11 = Σ_l ‖(F_l)_1‖²‖(B_(l+1))_1‖²", rounded(diagonal[0], length), exact, key="sum")
    gradient = sum(float(g.square().sum()) for g in gradients(i, 0))
    out.equal("K_11 = ‖∇_θ f(x_1)‖² by autograd", rounded(gradient, autograd_length(i), total),
              exact, key="autograd")  # fmt: skip
    out.scaling("K_11", total, "O", i.beta[i.L] ** 2 * i.d * i.n[i.L - 1], "β_L² d n_(L-1)",
                key="diagonal")  # fmt: skip


def gradients(i: Instance, row: int) -> list[Tensor]:
    """∂f(x_row)/∂W_1, …, ∂f/∂W_L and the biases', by autograd."""
    with torch.enable_grad():
        value = i.model(i.X[row : row + 1].to(i.model.dtype))[0, 0]
        found = torch.autograd.grad(value, list(i.model.parameters()), allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g.detach()
        for g, p in zip(found, i.model.parameters(), strict=True)
    ]


def autograd_length(i: Instance) -> int:
    """Roundings between two ways to the same gradient: every sum of both passes, with φ″."""
    return int(64 * sum(i.n) * i.L * (1.0 + (i.slope_of_derivative or 0.0)))
