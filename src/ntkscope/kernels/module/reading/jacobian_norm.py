"""How much D = ∂W/∂θ may enlarge a rounding error, where D is known by its vjp alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

_WHOLE = 2**22  # entries of a D that is formed, some rows at a time
_ROWS = 2**20  # entries at a time
_PROBES = 32
# ‖Dᵀz‖² for Gaussian z is Σ λ_i χ²_i with Σ λ_i = ‖D‖_F². Its Laplace transform is largest where one λ is
# all (Chernoff; Π(1 + a_i) ≥ 1 + Σ a_i), so a mean of r probes lies below x‖D‖_F² with probability at most
# (x e^{1−x})^{r/2}: 2e-16 at x = 1/25 and r = 32
_SHARE = 1 / 25


def amplification(W: Tensor, back: Callable[[Tensor], Tensor], size: int) -> float:
    """At least ‖ |D| ‖₂, by which the error of a computed Dᵀg is bounded (Higham, 2002, section 3.5).

    ``back`` is g ↦ Dᵀg for g of W's shape, ``size`` the entries of θ. Of a small D the lesser of ‖D‖_F and
    √(‖D‖₁ ‖D‖_∞), of a larger one 5 √(mean ‖Dᵀz‖²) for 32 Gaussian z, at least ‖D‖_F but with probability 2e-16.
    """
    rounds = 1 + torch.finfo(W.dtype).eps ** 0.5  # of this sum itself
    if W.numel() * size > _WHOLE:
        generator = torch.Generator().manual_seed(0)
        draws = (
            torch.randn(W.shape, dtype=torch.float64, generator=generator) for _ in range(_PROBES)
        )
        rows = [back(z.to(W)).detach() for z in draws]
        mean = sum(float(row.double().square().sum()) for row in rows) / _PROBES
        return float((mean / _SHARE) ** 0.5) * rounds
    widest, columns, squares = 0.0, W.new_zeros(size, dtype=torch.float64), 0.0
    step = max(1, _ROWS // max(W.numel(), size))
    for start in range(0, W.numel(), step):
        count = min(step, W.numel() - start)
        units = W.new_zeros(count, W.numel())
        units[range(count), range(start, start + count)] = 1.0
        with warnings.catch_warnings():  # vmap warns where it falls back on a loop of its own
            warnings.simplefilter("ignore")
            rows_of = vmap(back)(units.reshape(count, *W.shape)).detach().reshape(count, size)
        sizes = rows_of.double().abs()
        widest = max(widest, float(sizes.sum(dim=1).max()))
        columns += sizes.sum(dim=0)
        squares += float(sizes.square().sum())
    return min(squares, widest * float(columns.max())) ** 0.5 * rounds
