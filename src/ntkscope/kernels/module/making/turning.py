"""The term of one parameter whose signals carry few outputs: turned as they come, and contracted at the end.

See :mod:`ntkscope.kernels.module.holding.compress` for when they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Self

from torch import Tensor

from ntkscope._base.threads import workers
from ntkscope.kernels.module.holding.compress import PROBED, Turning, probe, rotation_of
from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.holding.use import Use, at_used_positions
from ntkscope.kernels.module.holding.weight_block import WeightBlock
from ntkscope.kernels.module.making.collect import collect
from ntkscope.kernels.module.making.forming import Growing, Sums
from ntkscope.kernels.module.making.invariant import added_up, samples_at_a_time
from ntkscope.kernels.module.making.passed import is_small
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.survey import Survey


def rotations(
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    names: Sequence[str],
    room: float,
) -> dict[str, Tensor]:
    """Those of the parameters ``names`` whose signals carry few outputs on some samples.

    room: bytes that all of them may hold together; those of the fewest outputs come first.
    """
    found: dict[str, Tensor] = {}
    left = [name for name in names if _may_turn(survey, name)]
    for count in PROBED:
        if not left or len(outputs) == 1:
            return {}
        # a pass back ends at the layers that are left
        own = survey.with_general(set(survey.structured) - set(left), "not looked at")
        few = take(inputs, probe(len(inputs[0]), count))
        passed = collect(subject, own, few, outputs, len(few[0]), checked=False)
        tried = {name: rotation_of(passed.g[own.uses(name)[0].index]) for name in left}
        found = {name: rotation for name, rotation in tried.items() if rotation is not None}
        left = list(found)
    taken, chosen = 0.0, {}
    for name in sorted(found, key=lambda name: found[name].shape[2]):
        rotation = found[name]
        # each thread's: turned, their squares, and weighted
        numbers = len(inputs[0]) * survey.uses(name)[0].g_size * (rotation.shape[2] + 2)
        taken += rotation.dtype.itemsize * workers(len(outputs), rotation.device) * numbers
        if taken <= room:
            chosen[name] = rotation
    return chosen


def _may_turn(survey: Survey, name: str) -> bool:
    sites = survey.uses(name)
    operation = sites[0].operations[name]
    vectors = operation.is_outer and operation.by_vectors
    small = is_small(sites[0], operation, survey.size(name))
    return len(sites) == 1 and vectors and not small and not sites[0].is_output


class Turned(Growing):
    """Turns the signals (n, T, q) of a parameter's only layer. rotation: (q, C, R). inputs: x (n, T, p)."""

    def __init__(
        self,
        name: str,
        site: Site,
        shape: tuple[int, ...],
        inputs: Tensor,
        rotation: Tensor,
        sums: Sums,
        budget: float,
    ) -> None:
        self._name, self._shape, self._budget = name, shape, budget
        self._operation, self._x, self._sums = site.operations[name], inputs, sums
        self._r = sums.r.sum(dim=0)  # a sample is in one group
        self._rotation = rotation
        self._begin()

    def _begin(self) -> None:
        shape = *self._x.shape[:2], len(self._rotation)
        self._turning = Turning(self._rotation, shape)
        self._weighted = self._x.new_zeros(shape)

    def beside(self) -> Self:
        other = copy(self)
        other._begin()
        return other

    def join(self, other: Self) -> None:
        self._turning.join(other._turning)
        self._weighted += other._weighted

    def add(self, place: int, site: Site, g: Tensor) -> None:
        del site
        self._turning.add(place, g)
        if len(self._sums.groups):
            self._weighted.addcmul_(g, self._r[:, place, None, None])

    @property
    def totals(self) -> Sequence[Tensor]:
        x, g = self._x, self._weighted
        step = samples_at_a_time(self._operation, g[0].numel(), self._shape)
        return [added_up(self._operation, x[rows], g[rows], step) for rows in self._sums.groups]

    def formed(self) -> FormedBlock | None:
        """None where the samples' signals carry more outputs than those of the few that were looked at."""
        turned = self._turning.turned
        if turned is None:
            return None
        use = at_used_positions(Use(self._operation, (self._x, self._x), (turned, turned)))
        C = self._rotation.shape[1]
        block = WeightBlock(self._name, (use,), self._shape, False, self._budget, C)
        return FormedBlock(self._name, block.whole(), block.magnitudes(), block.inner)
