"""The kernel of a table's rows: two positions count together where they read the same row.

K_ij = Σ_w ⟨Σ_{t: x_it = w} g_it, Σ_{s: x_js = w} g_js⟩. A vocabulary's rows are in few samples each, so that this
takes far fewer operations than the gradients, which are zero nearly everywhere, or than all pairs of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CACHED = 1 << 18  # numbers that are gathered and multiplied at a time

Side = tuple[Tensor, Tensor]  # x (n, T) and g (n, C, T, q)


def add_equal_rows(
    out: Tensor, left: Side, right: Side, padding: int | None, full: bool, budget: float
) -> None:
    """Add the kernel to ``out``; ``full`` keeps outputs apart. ``padding``: the row that counts for nothing.

    budget: bytes beyond the result, exceeded where one row's products alone do.
    """
    ours = _Rows.of_side(*left, padding, full)
    theirs = (
        ours
        if right[0] is left[0] and right[1] is left[1]
        else _Rows.of_side(*right, padding, full)
    )
    places = torch.searchsorted(theirs.names, ours.names).clamp_(max=max(0, len(theirs.names) - 1))
    both = (
        torch.nonzero(theirs.names[places] == ours.names)[:, 0] if len(theirs.names) else places[:0]
    )
    sizes = torch.stack([ours.counts[both], theirs.counts[places[both]]], dim=1)
    # of rows in about as many samples, padded to as many
    most_at_once = min(_CACHED, budget / out.dtype.itemsize)
    _, group = torch.unique(sizes.double().log2().ceil(), dim=0, return_inverse=True)
    for which in range(int(group.max()) + 1 if len(group) else 0):
        own = both[group == which]
        most = sizes[group == which].amax(dim=0).tolist()
        numbers = 2 * most[0] * most[1] + sum(most) * ours.values.shape[1]
        for some in own.split(max(1, int(most_at_once / numbers))):
            (i, a), (j, b) = ours.padded(some, most[0]), theirs.padded(places[some], most[1])
            products = torch.bmm(a, b.mT)
            out.index_put_((i[:, :, None], j[:, None, :]), products, accumulate=True)


@dataclass(frozen=True)
class _Rows:
    """What samples sum up at each row of the table: ``values`` (E, ·) in the order of the rows' ``names``.

    Of row k they are the ``counts`` from ``starts``, of the kernel's rows ``of`` (E,). One more value is zero.
    """

    names: Tensor
    starts: Tensor
    counts: Tensor
    of: Tensor
    values: Tensor

    @classmethod
    def of_side(cls, x: Tensor, g: Tensor, padding: int | None, full: bool) -> _Rows:
        n, C, T, q = g.shape
        samples = torch.arange(n, device=x.device)[:, None].expand(n, T)
        read = torch.ones_like(x, dtype=torch.bool) if padding is None else x != padding
        signals = g.transpose(1, 2)[read].flatten(1)  # (positions, C·q)
        keys, inverse = torch.unique(x[read].long() * n + samples[read], return_inverse=True)
        values = signals.new_zeros(len(keys) + 1, C * q).index_add_(0, inverse, signals)
        of = torch.cat([keys % n, keys.new_zeros(1)])
        names, counts = torch.unique_consecutive(keys // n, return_counts=True)
        starts = counts.cumsum(0) - counts
        if full:
            outputs = torch.arange(C, device=x.device)
            values, of = values.view(-1, q), (of[:, None] * C + outputs).flatten()
            starts, counts = starts * C, counts * C
        return cls(names, starts, counts, of, values)

    def padded(self, rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """(R, most) rows of the kernel and (R, most, ·) values of some of the table's rows, zeros behind."""
        steps = torch.arange(most, device=rows.device)
        within = steps < self.counts[rows][:, None]
        places = torch.where(within, self.starts[rows][:, None] + steps, len(self.values) - 1)
        return self.of[places], self.values[places]
