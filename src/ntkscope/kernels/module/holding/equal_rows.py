"""The kernel of a table's rows: two positions count together where they read the same row.

K_ij = Σ_w ⟨Σ_{t: x_it = w} g_it, Σ_{s: x_js = w} g_js⟩. A vocabulary's rows are in few samples each, so that this
takes far fewer operations than the gradients, which are zero nearly everywhere, or than all pairs of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CACHED = 1 << 19  # numbers that are gathered and multiplied at a time

Side = tuple[Tensor, Tensor]  # x (n, T) and g (n, C, T, q)


def add_equal_rows(
    out: Tensor, left: Side, right: Side, padding: int | None, full: bool, budget: float
) -> None:
    """Add the kernel to ``out``; ``full`` keeps outputs apart. ``padding``: the row that counts for nothing.

    budget: bytes beyond the result, each side's signals, which are copied, and a kernel where ``out`` is a
    part of another matrix. On a CPU numbers are added in one order.
    """
    ours = _Rows.of_side(*left, padding, full)
    theirs = (
        ours
        if right[0] is left[0] and right[1] is left[1]
        else _Rows.of_side(*right, padding, full)
    )
    if not len(ours.names) or not len(theirs.names):
        return
    places = torch.searchsorted(theirs.names, ours.names).clamp_(max=len(theirs.names) - 1)
    both = torch.nonzero(theirs.names[places] == ours.names)[:, 0]
    sizes = torch.stack([ours.counts[both], theirs.counts[places[both]]], dim=1)
    whole = (
        out if out.is_contiguous() else torch.zeros_like(out, memory_format=torch.contiguous_format)
    )
    fitting = int(min(_CACHED, budget / out.dtype.itemsize))
    # of rows in about as many samples, padded to as many
    _, group = torch.unique(sizes.double().log2().ceil(), dim=0, return_inverse=True)
    for which in range(int(group.max()) + 1 if len(group) else 0):
        own = both[group == which]
        most = sizes[group == which].amax(dim=0).tolist()
        each = 2 * most[1] + ours.values.shape[1]  # numbers for one of the samples of a row
        step = max(1, min(most[0], fitting // each))
        for some in own.split(max(1, fitting // (step * each))):
            j, b = theirs.padded(some if theirs is ours else places[some], 0, most[1])
            for start in range(0, most[0], step):
                i, a = ours.padded(some, start, min(start + step, most[0]))
                entries = i[:, :, None] * out.shape[1] + j[:, None, :]
                whole.view(-1).index_add_(0, entries.flatten(), torch.bmm(a, b.mT).flatten())
    if whole is not out:
        out += whole


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
        names = x.long().flatten()
        samples = torch.arange(n, device=x.device).repeat_interleave(T)
        signals = g.transpose(1, 2).reshape(n * T, C * q)
        if padding is not None:
            read = names != padding
            names, samples, signals = names[read], samples[read], signals[read]
        keys, inverse = torch.unique(names * n + samples, return_inverse=True)
        values = signals.new_zeros(len(keys) + 1, C * q).index_add_(0, inverse, signals)
        of = torch.cat([keys % n, keys.new_zeros(1)])
        read_rows, counts = torch.unique_consecutive(keys // n, return_counts=True)
        starts = counts.cumsum(0) - counts
        if full:
            outputs = torch.arange(C, device=x.device)
            values, of = values.view(-1, q), (of[:, None] * C + outputs).flatten()
            starts, counts = starts * C, counts * C
        return cls(read_rows, starts, counts, of, values)

    def padded(self, rows: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Of some of the table's rows the values from ``start`` to ``stop``, zeros behind: (R, ·) rows of the
        kernel and (R, ·, ·) values."""
        steps = torch.arange(start, stop, device=rows.device)
        within = steps < self.counts[rows][:, None]
        places = torch.where(within, self.starts[rows][:, None] + steps, len(self.values) - 1)
        return self.of[places], self.values[places]
