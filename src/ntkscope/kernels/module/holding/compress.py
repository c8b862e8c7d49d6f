"""Signals that differ from output to output by factors alone, summed over the outputs beforehand.

The trace kernel of a weight with rows u is Σ_u Σ_c ⟨Σ_t g_ctu a_t, Σ_t g_ctu a_t⟩, so the outputs c of each
unit u may be rotated by an orthogonal matrix of its own. Below a linear read-out of pooled units
g_ctu = w_cu s_tu: after the rotation one output is left of all C, and the contraction costs 1/C.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PROBED = 4, 32  # samples that may rule a rotation out; those from which it is taken
LEFT_OUT = 16  # C u times this: the share of a signal's squares that may go, sums being rounded too
_MOST = 64  # outputs: the rotations cost C² a number
_LEAST_SAVED = 2  # times fewer outputs


def fewer_outputs(g: tuple[Tensor, Tensor], unit_axis: int) -> tuple[Tensor, Tensor]:
    """Both sides' signals (n, C, …) with as few outputs R as carry them, or the same tensors.

    The rotations come from some samples and are held against every signal: of no Σ_c g_nctu² may
    more than a few C u be left out, so that no entry of the kernel moves by more than rounding.
    """
    rows, cols = g
    if rows.device.type == "meta":
        return g
    rotation: Tensor | None = None
    for few in PROBED:
        rotation = rotation_of(rows[probe(len(rows), few)].movedim(unit_axis, -1))
        if rotation is None:
            return g
    assert rotation is not None
    turned = _turned(rows, rotation, unit_axis)
    if turned is None:
        return g
    other = turned if cols is rows else _turned(cols, rotation, unit_axis)
    return g if other is None else (turned, other)


def probe(n: int, few: int) -> Tensor:
    """So many of n samples."""
    return torch.linspace(0, n - 1, min(few, n), device="cpu").long()


def rotation_of(g: Tensor) -> Tensor | None:
    """(q, C, R) from signals (n, C, …, q): the eigenvectors of every unit's Σ_{n,t} g_c g_c′, the R that some
    unit needs; None where they are not few."""
    C = g.shape[1]
    if not _LEAST_SAVED <= C <= _MOST:
        return None
    by_unit = g.movedim((-1, 1), (0, 1)).flatten(2)
    values, vectors = torch.linalg.eigh(by_unit @ by_unit.mT)
    needed = int((values > C * torch.finfo(g.dtype).eps * values[:, -1:]).sum(dim=1).max())
    return vectors[:, :, C - max(1, needed) :] if needed * _LEAST_SAVED <= C else None


def _turned(g: Tensor, rotation: Tensor, unit_axis: int) -> Tensor | None:
    """(n, R, …): the outputs of every unit rotated; None where something is left out."""
    last = g.movedim(unit_axis, -1)
    turning = Turning(rotation, last[:, 0].shape)
    for c in range(g.shape[1]):
        turning.add(c, last[:, c])
    return None if turning.turned is None else turning.turned.movedim(-1, unit_axis)


class Turning:
    """Signals of ``shape`` (n, …, q) rotated as they come, an output at a time: R + 1 times as many numbers."""

    def __init__(self, rotation: Tensor, shape: Sequence[int]) -> None:
        self._rotation = rotation  # (q, C, R)
        made = rotation.new_zeros(*shape[:-1], rotation.shape[2], shape[-1])
        self._made, self._whole = made.movedim(-2, 1), rotation.new_zeros(shape)

    def add(self, output: int, g: Tensor) -> None:
        for r in range(self._rotation.shape[2]):
            self._made[:, r].addcmul_(g, self._rotation[:, output, r])
        self._whole.addcmul_(g, g)

    def join(self, other: Turning) -> None:
        """Add what the ``other`` was given."""
        self._made += other._made
        self._whole += other._whole

    @property
    def turned(self) -> Tensor | None:
        """(n, R, …, q), once every output is there; None where more than rounding is left out."""
        kept, C = self._made.square().sum(dim=1), self._rotation.shape[1]
        slack = LEFT_OUT * C * torch.finfo(kept.dtype).eps / 2
        within = bool((self._whole - kept <= slack * self._whole).all())
        return self._made if within else None
