"""Arrays over pairs of samples and pairs of positions.

A covariance has the shape (*P, n, *P, m, b) where all pairs of positions are wanted and
(*P, n, m, b) where p = p′ is enough: n × m samples with b = 1, or a list of b pairs with
n = m = 1. Variances have the shape (*P, N), N the samples of their side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(eq=False)
class Side:
    """Some samples: their values where the graph begins, and every node's variances.

    entries: (channels, *positions, N) each. variances: by node. amplifications: by how much
    averages are smaller than what they average, by mixing node.
    """

    entries: list[Tensor]
    variances: dict[int, Tensor] = field(default_factory=dict)
    amplifications: dict[int, float] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        tensors = [*self.entries, *self.variances.values()]
        return sum(t.numel() * t.element_size() for t in tensors)


@dataclass(eq=False)
class Pairing:
    """Which samples meet: every one of ``left`` every one of ``right``, or one by one (listed).

    own: (k, 2) places in the tile of samples that are equal in each bit; None if there are none.
    node, pairs: the node that is being computed, and whether all pairs of positions are.
    """

    left: Side
    right: Side
    listed: bool
    own: Tensor | None = None
    node: int = -1
    pairs: bool = False

    def rows(self, V: Tensor, pairs: bool | None = None) -> Tensor:
        """(*P, N) of the left side, to be broadcast over a covariance."""
        k = V.ndim - 1
        tail = (1,) * (k + 1 if (self.pairs if pairs is None else pairs) else 1)
        n = (1, *tail, V.shape[-1]) if self.listed else (V.shape[-1], *tail, 1)
        return V.reshape(*V.shape[:-1], *n)

    def cols(self, V: Tensor, pairs: bool | None = None) -> Tensor:
        """The same of the right side."""
        k = V.ndim - 1
        m = (1, V.shape[-1]) if self.listed else (V.shape[-1], 1)
        pairs = self.pairs if pairs is None else pairs
        if pairs:
            return V.reshape(*(1,) * (k + 1), *V.shape[:-1], *m)
        return V.reshape(*V.shape[:-1], 1, *m)

    def make_exact(self, distance: Tensor) -> Tensor:
        """``distance``, with 0 (in place) where a sample meets itself at one position."""
        k = self.positions(distance, self.pairs)
        view = same_positions(distance, k) if self.pairs else distance
        if self.listed:
            view.zero_()
        elif self.own is not None:
            view[..., self.own[:, 0], self.own[:, 1], 0] = 0.0
        return distance

    def blocks(self, x: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A covariance and both sides' variances as three axes each, broadcast to one another."""
        P, b = left[..., 0].numel(), left.shape[-1]
        if self.listed:
            second = P if self.pairs else 1
            cols = right.reshape(1, P, b) if self.pairs else right.reshape(P, 1, b)
            return x.reshape(P, second, b), left.reshape(P, 1, b), cols
        m = right.shape[-1]
        if self.pairs:
            return x.reshape(P * b, 1, P * m), left.reshape(-1, 1, 1), right.reshape(1, 1, -1)
        return x.reshape(P, b, m), left.reshape(P, b, 1), right.reshape(P, 1, m)

    @staticmethod
    def positions(x: Tensor, pairs: bool) -> int:
        """Position axes of a covariance."""
        return (x.ndim - 3) // 2 if pairs else x.ndim - 3


def same_positions(x: Tensor, k: int) -> Tensor:
    """The view (*P, n, m, b) of the pairs p = p′ of (*P, n, *P, m, b)."""
    for left in range(k, 0, -1):
        x = x.diagonal(0, 0, left + 1)
    return x.permute(*range(3, 3 + k), 0, 1, 2)


def dims(axis: int, k: int, pairs: bool) -> tuple[int, ...]:
    """The dimensions of a covariance that position axis ``axis`` of k has."""
    return (axis, k + 1 + axis) if pairs else (axis,)
