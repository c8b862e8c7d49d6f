"""Products of weights and activation derivatives at one input: Σ_k(x) Π W_l Σ_l(x) and kin."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkscope.statements.instance import Instance


def slopes(i: Instance, row: int, k: int) -> Tensor:
    """The diagonal of Σ_k(x_row): φ′(g_k), shape (n_k,)."""
    return i.network.activation.derivative(i.G(k)[row])


def sigma_product(i: Instance, row: int, k: int, p: int) -> Tensor:
    """S_p = Σ_k(x) Π_{l=k+1}^{p} W_l Σ_l(x), shape (n_k, n_p), 1 ≤ k ≤ p ≤ L−1."""
    if p == k:
        return torch.diag(slopes(i, row, k))
    product = slopes(i, row, k)[:, None] * i.weight(k + 1) * slopes(i, row, k + 1)
    for l in range(k + 2, p + 1):
        product = (product @ i.weight(l)) * slopes(i, row, l)
    return product


def weight_product(i: Instance, row: int, p: int, q: int) -> Tensor:
    """Π_{l=p}^{q} W_l Σ_l(x), shape (n_{p-1}, n_q), 1 ≤ p ≤ q ≤ L−1."""
    product = i.weight(p) * slopes(i, row, p)
    for l in range(p + 1, q + 1):
        product = (product @ i.weight(l)) * slopes(i, row, l)
    return product


def jacobian(i: Instance, row: int, p: int, q: int) -> Tensor:
    """J(h_{p→q}) at f_p(x_row), transposed: (Π_{l=p+1}^{q-1} W_l Σ_l(x)) W_q, shape (n_p, n_q)."""
    if q == p + 1:
        return i.weight(q)
    return weight_product(i, row, p + 1, q - 1) @ i.weight(q)


def gaussian_like(i: Instance, l: int, shape: tuple[int, ...], purpose: str) -> Tensor:
    """Fresh N(0, β_l²) entries for a Monte-Carlo trial over W_l."""
    draw = torch.randn(shape, generator=i.generator(purpose), dtype=torch.float64)
    return draw * i.beta[l]
