"""Two ways of contracting gradients Σ_t g_t a_tᵀ of two sets of samples with each other.

``left`` and ``right`` are an operation's pairs: inputs a of shape (n, T, p) and output gradients g of
shape (n, C, T, q), one of each for every group of the layer. ``upper`` says that the two sides are
one, and that the lower triangle may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ntkscope.kernels.module.holding.triangle import add_upper
from ntkscope.kernels.module.reading.layers.layer import Pairs

# told of samples, rows of the parameter, and the samples' gradients of those rows
Seen = Callable[[slice, slice, Tensor], None]

_CACHED = 1 << 20  # numbers that a contraction writes before it multiplies them


def add_outer_products(
    out: Tensor, left: Pairs, right: Pairs, budget: float, upper: bool, seen: Seen | None = None
) -> None:
    """Through the gradients, summed over the outputs: some rows (output, unit) at a time.

    They are written into the same few MB again and again: fresh memory costs more than the
    product that fills it.
    """
    for a, g, b, h in zip(*left, *right, strict=True):
        own_side, other_side = (a, _rows_last(g)), (b, _rows_last(h))
        n, m, p, units = len(a), len(b), a.shape[2], own_side[1].shape[2]
        step, width = outer_slices(max(n, m), p, units, budget / out.dtype.itemsize)
        held = (n,) if upper and n <= step else (n, m)
        pads = [a.new_empty(min(step, k) * width * p) for k in held]
        for start in range(0, units, width):
            part = slice(start, min(start + width, units))
            for i in range(0, n, step):
                own = _outer(own_side, slice(i, i + step), part, pads[0])
                if seen is not None:
                    seen(slice(i, i + len(own)), part, own)
                for j in range(i if upper else 0, m, step):
                    block = out[i : i + step, j : j + step]
                    if upper and j == i:
                        add_upper(block, own, own)
                    else:
                        other = _outer(other_side, slice(j, j + step), part, pads[1])
                        block.addmm_(own, other.T)


def outer_slices(n: int, p: int, units: int, budget: float) -> tuple[int, int]:
    """Samples and units at a time whose gradients, p numbers a unit, fill at most ``budget`` / 4.

    Within the budget, about what a core's cache holds: the product then reads them from there.
    """
    most = max(1, int(min(budget / 4, _CACHED)))
    step = min(n, 1024)
    width = min(units, most // (step * p))
    if width < min(8, units):
        width = max(1, min(8, units, most // p))
        step = max(1, min(step, most // (width * p)))
    return step, width


def _rows_last(g: Tensor) -> Tensor:
    """(n, C, T, q) as (n, T, C·q), without a copy where the positions lie outermost."""
    return g.transpose(1, 2).flatten(2)


def _outer(side: tuple[Tensor, Tensor], index: slice, units: slice, pad: Tensor) -> Tensor:
    """(n, units·p): Σ_t g_t a_tᵀ of some samples and units, in the memory of ``pad``."""
    a, g = side[0][index], side[1][index, :, units]
    n, width, p = len(a), g.shape[2], a.shape[2]
    made = pad[: n * width * p].view(n, width, p)
    torch.bmm(g.transpose(1, 2), a, out=made)
    return made.view(n, width * p)


def add_position_pairs(
    out: Tensor, left: Pairs, right: Pairs, full: bool, budget: float, upper: bool
) -> None:
    """Pair by pair of positions: Σ_{t,s} (a_it·b_js)(g_it·h_js); ``full`` keeps outputs apart."""
    for a, g, b, h in zip(*left, *right, strict=True):
        lead = g.shape[1] if full else 1
        step = max(1, int(math.sqrt(budget / (3 * out.dtype.itemsize)) / (a.shape[1] * lead)))
        for i in range(0, len(a), step):
            rows = slice(i, i + step)
            for j in range(i if upper else 0, len(b), step):
                cols = slice(j, j + step)
                part = _tile((a[rows], g[rows]), (b[cols], h[cols]), full)
                r, c = part.shape
                out[i * lead : i * lead + r, j * lead : j * lead + c] += part


def _tile(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], full: bool) -> Tensor:
    (a, g), (b, h) = left, right
    n, T, p = a.shape
    m, S, _ = b.shape
    C, D, q = g.shape[1], h.shape[1], g.shape[3]
    inputs = a.reshape(n * T, p) @ b.reshape(m * S, p).T
    if full:
        signals = g.reshape(n * C * T, q) @ h.reshape(m * D * S, q).T
        both = signals.view(n, C, T, m, D, S) * inputs.view(n, 1, T, m, 1, S)
        return both.sum(dim=(2, 5)).reshape(n * C, m * D)
    ours = g.transpose(1, 2).reshape(n * T, C * q)
    theirs = h.transpose(1, 2).reshape(m * S, C * q)
    signals = ours @ theirs.T
    return signals.mul_(inputs).view(n, T, m, S).sum(dim=3).sum(dim=1)
