"""Banerjee et al. 2023, eq. 4 and §3: the Jacobian's blocks, and several outputs."""

from __future__ import annotations

import torch

from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import replace_network
from ntkscope.papers.banerjee2023 import PAPER
from ntkscope.papers.banerjee2023.layers import layers
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.statements import needs
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import Quantity, U, quantity

_ROWS = 3  # samples whose gradients are taken one by one
_OUTPUTS = 3
_MAX_ROWS = 200  # of the samples whose kernel with several outputs is formed


@PAPER.statement(
    "eq-4",
    title="The kernel layer by layer",
    section="eq. 4 and the sum before Theorem 4.2",
    sentence="JJᵀ = Σ_l A^(l−1)A^(l−1)ᵀ/m_(l−1) ⊙ B_lB_lᵀ + A^(L)A^(L)ᵀ/m, B_l = D_l Π (W^(l')ᵀD_l'/√m) v/√m.",
    latex=r"B_l=D_l\Big(\prod_{l'=l+1}^{L}\tfrac1{\sqrt{m_{l'-1}}}(W^{(l')})^{\top}D_{l'}\Big)\tfrac1{\sqrt{m_L}}\mathbf v",
    needs=(needs.plain,),
    level2="with (W^(l'))ᵀ and the Hadamard product, against autograd on the first rows",
)
def eq_4(i: Instance, out: Findings) -> None:
    if not i.plain:
        raise NotComputable("eq. 4 is for networks without biases and residual connections")
    rows = min(i.N, _ROWS)
    grads = torch.stack([_gradient(i, row) for row in range(rows)])
    direct = grads @ grads.T
    blocks = _blocks(i, rows)
    size = float(direct.abs().max())
    bar = 64 * (sum(i.n) + i.network.n_parameters) * U * size
    off = float((blocks - direct).abs().max())
    out.conclude_equal(f"max |JJᵀ − the sum| = 0 on {rows} rows", Quantity(off, bar), 0.0, scale=size,
                       key="sum")  # fmt: skip
    out.note(
        "Eq. 4 prints W^(l') for its transpose (W^(l') is m_l' × m_(l'−1), so the product has no meaning "
        "where widths differ), the sum ∂A/∂vec(W^(1)) in one factor for ∂A/∂vec(W^(l)), and calls ⊙ the "
        "Kronecker product: it is Hadamard's."
    )


def _blocks(i: Instance, rows: int) -> torch.Tensor:
    """The sum on the first rows, each B_l from the vector v down, matrix by matrix."""
    phi, top = i.network.activation, i.L - 1
    total = i.network.scales[top] ** 2 * (i.F(top)[:rows] @ i.F(top)[:rows].T)
    signal = i.weight(i.L)[:, 0].expand(rows, -1)
    for l in range(top, 0, -1):
        B = phi.derivative(i.G(l)[:rows]) * signal
        A = i.F(l - 1)[:rows] * i.network.scales[l - 1]
        total = total + (A @ A.T) * (B @ B.T)
        signal = B @ i.weight(l).T  # our W_l is their (W^(l))ᵀ
    return total


def _gradient(i: Instance, row: int) -> torch.Tensor:
    weights = list(i.model.weights)
    value = i.model(i.X[row : row + 1].to(i.model.dtype)).sum()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, weights)])


@PAPER.statement(
    "outputs",
    title="Several outputs",
    section="§3",
    sentence="The results extend to k outputs: the bound by A^(L)A^(L)ᵀ/m holds for the nk × nk kernel.",
    latex=r"\lambda_{\min}(K_{\mathrm{ntk}})\ge\tfrac1{m_L}\lambda_{\min}(A^{(L)}A^{(L)\top}),\quad \mathbf V\in\mathbb R^{k\times m_L}",
    needs=(needs.plain,),
    level2="λ_min of the kernel of 3 outputs, V ~ N(0, 1), against the last layer's share and λ_1",
)
def outputs(i: Instance, out: Findings) -> None:
    if not i.plain:
        raise NotComputable("§3 has neither biases nor residual connections")
    if i.N > _MAX_ROWS:
        raise NotComputable(f"the kernel of {_OUTPUTS} outputs is formed up to {_MAX_ROWS} samples")
    top = i.L - 1
    V = torch.randn(
        i.n[top], _OUTPUTS, generator=i.generator("several outputs"), dtype=torch.float64
    )
    net = replace_network(i.network, widths=(*i.network.widths[:-1], _OUTPUTS))
    model = MLP(net, [*(w.detach() for w in i.model.weights[:-1]), V])
    value = quantity(smallest_eigenvalue(empirical_ntk(model, i.X, reduce="full")))
    share = i.network.scales[top] ** 2
    out.at_least(f"λ_min(K) ≥ λ_min(A^(L)A^(L)ᵀ)/m, {_OUTPUTS} outputs", value,
                 i.lambda_features(top) * share, key="last-layer", tautology=True)  # fmt: skip
    out.conclusion("λ_min(K)", value, "Ω", layers(i).smallest(1), "λ_1", key="kernel")
    out.note("The last layer's block is A^(L)A^(L)ᵀ/m ⊗ I_k, so that the bound loses nothing in k.")
