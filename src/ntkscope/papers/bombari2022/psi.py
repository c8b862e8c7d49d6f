"""The sub-exponential norm ‖·‖_ψ1 of the rows of J̃, as far as directions tried show it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope.papers.bombari2022.centred import Centred


def sub_exponential_norm(c: Centred) -> float:
    """max over directions tried of ‖⟨J̃_x, u⟩‖_ψ1 over the reference points: a lower estimate of ψ.

    Directions: rank-one random and leading ones, dense random ones, μ, and J̃ᵀv of the smallest
    eigenvector.
    """
    found: float = c.i.held("ψ₁ of J̃", lambda: _largest(c))
    return found


def _largest(c: Centred) -> float:
    F, B = (m[:2048] for m in c.reference)
    mean = c.product_mean
    generator = c.i.generator("proposition-3.3")
    shape = tuple(mean.shape)
    directions = [torch.randn(shape, generator=generator).double() for _ in range(3)]
    _, vectors = torch.linalg.eigh(c.kernel("full"))
    directions.append((c.Ft * vectors[:, :1]).T @ c.Bt)
    if c.product_mean_sq > 0:
        directions.append(mean)
    norms = []
    for U_ in directions:
        U_ = U_ / torch.linalg.matrix_norm(U_, "fro").clamp_min(1e-300)
        norms.append(psi1(((F @ U_) * B).sum(dim=1) - float((mean * U_).sum())))
    lead_f, lead_b = (torch.linalg.eigh(m.T @ m)[1][:, -1] for m in (F, B))
    for index in range(17):
        p = lead_f if index == 0 else torch.randn(shape[0], generator=generator).double()
        q = lead_b if index == 0 else torch.randn(shape[1], generator=generator).double()
        p, q = p / torch.linalg.vector_norm(p), q / torch.linalg.vector_norm(q)
        norms.append(psi1((F @ p) * (B @ q) - float(p @ mean @ q)))
    return max(norms)


def psi1(values: Tensor) -> float:
    """inf {t > 0: mean exp(|y|/t) ≤ 2} of a sample, by bisection."""
    size = values.abs()
    top = float(size.max())
    if top == 0:
        return 0.0
    low, high = top / 700.0, 2.0 * top  # at 2·top every exponential is below 2
    for _ in range(80):
        middle = math.sqrt(low * high)
        if float(torch.exp(size / middle).mean()) <= 2.0:
            high = middle
        else:
            low = middle
    return high
