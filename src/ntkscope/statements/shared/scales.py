"""Expressions that the scaling statements compare with, without their constants.

β_l are the standard deviations of the weights as the forward pass applies them.
"""

from __future__ import annotations

import math

from ntkscope.statements.instance import Instance


def features(i: Instance, k: int, r: int = 1) -> float:
    """(d Π_{l≤k} n_l β_l²)^r: the size of ‖f_k(x)‖^{2r}; ∞ where float64 cannot hold it."""
    size = float(i.d) * math.prod(i.n[l] * i.beta[l] * i.beta[l] for l in range(1, k + 1))
    return math.prod([size] * r)


def chain(i: Instance, k: int, p: int) -> float:
    """n_k Π_{l=k+1}^{p} n_l β_l²: the size of ‖Σ_k Π W_l Σ_l‖_F²."""
    return float(i.n[k]) * math.prod(i.n[l] * i.beta[l] ** 2 for l in range(k + 1, p + 1))


def operator(i: Instance, p: int, q: int) -> float:
    """Π_{l=p-1}^{q} n_l / min n_l · Π_{l=p}^{q} β_l²: the size of ‖Π_{l=p}^q W_l Σ_l‖_op²."""
    widths = i.n[p - 1 : q + 1]
    return math.prod(widths) / min(widths) * math.prod(b * b for b in i.beta[p : q + 1])


def lipschitz(i: Instance, p: int, q: int) -> float:
    """The size of ‖h_{p→q}‖²_Lip: that of the operators times Π_{p<l<q} log n_l."""
    return operator(i, p + 1, q) * math.prod(math.log(n) for n in i.n[p + 1 : q])


def kernel(i: Instance, k: int) -> float:
    """d Π_{l<L} n_l Π_{l≠k} β_l²: the size of the term of the kernel that belongs to W_k."""
    betas = math.prod(i.beta[l] ** 2 for l in range(1, i.L + 1) if l != k)
    return float(i.d) * math.prod(i.n[1 : i.L]) * betas
