"""The term of one parameter as it grows, output by output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ntkscope.kernels.module.holding.contract import Seen
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.holding.triangle import mirror
from ntkscope.kernels.module.holding.use import Use, at_used_positions, together
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making.invariant import added_up, samples_at_a_time
from ntkscope.kernels.module.reading.layers.dense import Dense
from ntkscope.kernels.module.reading.layers.layer import Ready
from ntkscope.kernels.module.reading.sites import Site


@dataclass(frozen=True)
class Sums:
    """The weights r of the sums that are held against autograd's: samples ``groups``, (groups, N, C)."""

    groups: Sequence[slice]
    r: Tensor


class Growing(ABC):
    """A term as it grows."""

    @abstractmethod
    def beside(self) -> Self:
        """One with nothing added yet, for a thread of its own."""

    @abstractmethod
    def join(self, other: Self) -> None:
        """Add what the ``other`` was given."""

    @abstractmethod
    def add(self, place: int, site: Site, g: Tensor) -> None:
        """The signals (n, …) of the layer at ``site``, of the output at ``place``."""

    @property
    @abstractmethod
    def totals(self) -> Sequence[Tensor]:
        """(groups, P): Σ_nc r_nc ∂f_nc/∂p."""

    @abstractmethod
    def formed(self) -> FormedBlock | None:
        """The term, once every output has been added; None where it cannot be made so."""


class Forming(Growing):
    """Takes the signals of a parameter's layers, contracts an output's when the last has come, and drops them.

    inputs: x by site. n_outputs: C. budget: bytes of a contraction beside its result.
    """

    def __init__(
        self,
        name: str,
        sites: Sequence[Site],
        shape: tuple[int, ...],
        inputs: Mapping[int, Tensor | None],
        n_outputs: int,
        sums: Sums,
        budget: float,
    ) -> None:
        self._name, self._sites, self._shape = name, sites, shape
        self._n_outputs, self._sums, self._budget = n_outputs, sums, budget
        self._x = {site.index: inputs[site.index] for site in sites}
        n = sums.r.shape[1]
        self._matrix, self._sizes = sums.r.new_zeros(n, n), sums.r.new_zeros(n)
        self._totals = sums.r.new_zeros(len(sums.groups), math.prod(shape))
        operations = [site.operations[name] for site in sites]
        self._vectors = not any(operation.heavy for operation in operations)
        self._length = 0
        self._begin()

    def beside(self) -> Self:
        other = copy(self)
        other._matrix, other._sizes = torch.zeros_like(self._matrix), torch.zeros_like(self._sizes)
        other._totals = torch.zeros_like(self._totals)
        other._length = 0
        other._begin()
        return other

    def join(self, other: Self) -> None:
        self._matrix += other._matrix
        self._sizes += other._sizes
        self._totals += other._totals
        self._length = max(self._length, other._length)

    def _begin(self) -> None:
        self._left = len(self._sites)
        self._whole: Tensor | None = None  # of all layers, summed
        self._norms = torch.zeros_like(self._sizes)
        self._signals: dict[int, Tensor] = {}

    def add(self, place: int, site: Site, g: Tensor) -> None:
        if self._vectors:
            self._add_gradient(site, g[:, None])
        else:
            self._signals[site.index] = g[:, None]
        self._left -= 1
        if not self._left:
            self._contract(place)
            self._begin()

    def _add_gradient(self, site: Site, g: Tensor) -> None:
        x = self._x[site.index]
        made = site.operations[self._name].gradient(g if x is None else x, g, slice(None))
        self._norms += torch.linalg.vector_norm(made[:, 0], dim=1)
        self._whole = made if self._whole is None else self._whole + made

    def _uses(self) -> Sequence[Use]:
        if self._whole is not None:
            return [self._ready(self._whole)]
        uses = []
        for site in self._sites:
            x, g = self._x[site.index], self._signals.pop(site.index)
            operation = site.operations[self._name]
            if operation.heavy:
                assert x is not None
                uses.append(Use(operation, (x, x), (g, g)))
            else:
                made = operation.gradient(g if x is None else x, g, slice(None))
                uses.append(self._ready(made))
        return together(uses)

    def _ready(self, made: Tensor) -> Use:
        return Use(Ready(self._shape[0] if self._shape else 1), (made, made), (made, made))

    def _contract(self, place: int) -> None:
        uses = self._uses()
        block = WeightBlock(
            self._name,
            tuple(at_used_positions(use) for use in uses),
            self._shape,
            False,
            self._budget,
        )
        r = self._sums.r[:, :, place]
        if block.shows:
            block.add_dense(self._matrix, seen=self._adding_up(uses, r))
        else:
            block.add_dense(self._matrix)
            for use in uses:
                self._add_up(use, r)
        self._sizes += self._norms.square() if self._vectors else block.magnitudes()
        size = math.prod(self._shape)
        more = 2 * size * (len(self._sites) - 1) if self._vectors else 0  # a sum's own parts
        whole = block.inner + (self._n_outputs - 1) * size + more
        self._length = max(self._length, whole)  # an output may reach fewer positions than another

    def _adding_up(self, uses: Sequence[Use], r: Tensor) -> Seen | None:
        """What adds the gradients that a contraction forms to the totals."""
        if not len(self._totals):
            return None
        whole = self._totals.view(len(self._totals), self._shape[0] if self._shape else 1, -1)
        operation = uses[0].operation
        if len(uses) == 1 and isinstance(operation, Dense) and operation.transposed:
            whole = whole.mT

        def seen(rows: slice, part: slice, gradients: Tensor) -> None:
            whole[:, part] += (r[:, rows] @ gradients).view(whole[:, part].shape)

        return seen

    def _add_up(self, use: Use, r: Tensor) -> None:
        """The same from a layer's x and g."""
        (x, _), (g, _) = use.x, use.g
        for rows, by, total in zip(self._sums.groups, r, self._totals, strict=True):
            if isinstance(use.operation, Ready):
                total += by[rows] @ g[rows, 0]
            else:
                step = samples_at_a_time(use.operation, g[0, 0].numel(), self._shape)
                weighted = g[rows, 0] * by[rows].view(-1, *[1] * (g.ndim - 2))
                total += added_up(use.operation, x[rows], weighted, step)

    @property
    def totals(self) -> Sequence[Tensor]:
        return list(self._totals)

    def formed(self) -> FormedBlock:
        mirror(self._matrix)
        return FormedBlock(self._name, self._matrix, self._sizes, self._length)
