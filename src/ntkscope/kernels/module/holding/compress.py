"""Signals that differ from output to output by factors alone, summed over the outputs beforehand.

The trace kernel of a weight with rows u is Σ_u Σ_c ⟨Σ_t g_ctu a_t, Σ_t g_ctu a_t⟩, so the outputs c of each
unit u may be rotated by an orthogonal matrix of its own. Below a linear read-out of pooled units
g_ctu = w_cu s_tu: after the rotation one output is left of all C, and the contraction costs 1/C.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GLANCED, _PROBED = 4, 32  # samples that may rule a rotation out; those from which it is taken
LEFT_OUT = 16  # C u times this: the share of a signal's squares that may go, sums being rounded too
_MOST = 64  # outputs: the rotations cost C² a number
_LEAST_SAVED = 2  # times fewer outputs


def fewer_outputs(g: tuple[Tensor, Tensor], unit_axis: int) -> tuple[Tensor, Tensor]:
    """Both sides' signals (n, C, …) with as few outputs R as carry them, or the same tensors.

    The rotations come from some samples and are held against every signal: of no Σ_c g_nctu² may
    more than a few C u be left out, so that no entry of the kernel moves by more than rounding.
    """
    rows, cols = g
    C = rows.shape[1]
    if not _LEAST_SAVED <= C <= _MOST or rows.device.type == "meta":
        return g
    for few in (_GLANCED, _PROBED):
        chosen = torch.linspace(0, len(rows) - 1, min(few, len(rows)), device=rows.device).long()
        rotation = _rotation(rows[chosen], unit_axis)
        if rotation.shape[2] * _LEAST_SAVED > C:
            return g
    turned = _turned(rows, rotation, unit_axis)
    if turned is None:
        return g
    other = turned if cols is rows else _turned(cols, rotation, unit_axis)
    return g if other is None else (turned, other)


def _rotation(g: Tensor, unit_axis: int) -> Tensor:
    """(q, C, R): the eigenvectors of every unit's Σ_{n,t} g_c g_c′, the R that some unit needs."""
    by_unit = g.movedim((unit_axis, 1), (0, 1)).flatten(2)
    values, vectors = torch.linalg.eigh(by_unit @ by_unit.mT)
    C = len(values[0])
    needed = int((values > C * torch.finfo(g.dtype).eps * values[:, -1:]).sum(dim=1).max())
    return vectors[:, :, C - max(1, needed) :]


def _turned(g: Tensor, rotation: Tensor, unit_axis: int) -> Tensor | None:
    """(n, R, …): the outputs of every unit rotated; None where something is left out."""
    last = g.movedim(unit_axis, -1)
    n, C, R = len(g), g.shape[1], rotation.shape[2]
    turned = last.new_zeros(n, *last.shape[2:-1], R, last.shape[-1]).movedim(-2, 1)
    for c in range(C):
        for r in range(R):
            turned[:, r].addcmul_(last[:, c], rotation[:, c, r])
    whole, kept = (t.square().sum(dim=1) for t in (last, turned))
    slack = LEFT_OUT * C * torch.finfo(g.dtype).eps / 2
    return turned.movedim(-1, unit_axis) if bool((whole - kept <= slack * whole).all()) else None
