"""The held factors against autograd, on all samples: Σ_nc r_nc ∂f_nc/∂p for random weights r.

From the factors it is one contraction a layer, from autograd a pass and a way back: as in Freivalds'
test of a matrix product, what is wrong for some sample, output or entry changes the sum, unless such errors
happen to cancel under powers of two with random signs. Autograd's is taken in other batches than the factors' passes, so that it also changes where a
sample's outputs or gradients depend on the samples beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.module.making.batching import (
    KINKS,
    Batches,
    Totals,
    require_no_others,
)
from ntkscope.kernels.module.making.errors import OtherWayError
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.independence import require_own_outputs, slack_of, within
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.plain import differences, summed_gradients
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.survey import Survey

_BESIDE = 32  # samples in a batch of others, where a pass reads values
_SCRATCH = 2**22  # numbers that an operation writes beyond its result at a time


@dataclass(frozen=True)
class Others(Batches):
    """All samples in batches of samples that did not lie beside one another."""

    @classmethod
    def of(cls, outputs: Tensor, chosen: Sequence[int], chunk: int, reads: bool) -> Others:
        """For passes of ``chunk`` samples with these ``outputs`` (N, ·) of the model.

        The batches have another size than the passes, and two samples at least: torch differentiates some
        convolutions of one wrongly. r weighs each of the ``chosen`` outputs by its size.
        """
        n = len(outputs)
        size = _BESIDE if reads else max(1, chunk // 2)
        count = max(1, min(n // 2, max(2, -(-n // size))))
        made = outputs.detach()[:, list(chosen)]
        scale = made.abs().amax(dim=0)
        r = torch.randn(made.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        r = _power_of_two(r.to(made) / torch.where(scale > 0, scale, 1.0))
        return cls([slice(start, n, count) for start in range(count)], r)

    def batch(self, inputs: Inputs, rows: slice) -> tuple[Inputs, Tensor]:
        """The samples of a group and their r; of two or three samples in all twice over, the second time with r = 0."""
        part, r = take(inputs, rows), self.r[rows]
        if len(self.groups) > 1 or len(r) == 1:
            return part, r
        return tuple(torch.cat([t, t]) for t in part), torch.cat([r, torch.zeros_like(r)])

    def apart(self) -> Tensor:
        """(groups, N, C): r of each group's samples, 0 at the others."""
        apart = self.r.new_zeros(len(self.groups), *self.r.shape)
        for own, rows in zip(apart, self.groups, strict=True):
            own[rows] = self.r[rows]
        return apart


def _power_of_two(numbers: Tensor) -> Tensor:
    """The next below in size: a product with it is exact, so that an output's sum has its signals' digits."""
    mantissa = torch.frexp(numbers).mantissa.abs()
    return torch.where(mantissa > 0, numbers / (2 * mantissa), numbers)


def require_own_gradients(
    passed: Passed,
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    chunk: int,
    others: Others,
    totals: Sequence[Mapping[str, Tensor]] | None = None,
) -> None:
    """Every sample's outputs, and every parameter's sum, as autograd has them in the batches of ``others``.

    ``totals``: by group, the sums of parameters of which nothing is held. A sum may differ by
    ``KINKS`` times half of its digits and eps^¾ of the whole gradient. Raises OtherWayError naming the parameters,
    or ValueError where outputs or gradients depend on the other samples of a batch.
    """
    before, names = passed.outputs, [*survey.structured, *survey.unused]
    assert before is not None
    slack = slack_of(before, survey.rounding)
    whole, wrong = Totals(), dict[str, str]()
    for place, rows in enumerate(others.groups):
        part, r = others.batch(inputs, rows)
        output, plain = summed_gradients(subject, part, outputs, r, names)
        output, r = output[: len(before[rows])], others.r[rows]
        if not within(before[rows], output, slack):
            samples = range(passed.n)[rows]
            together, again = (dict(zip(samples, t, strict=True)) for t in (before[rows], output))
            require_own_outputs(subject, together, again, slack)
        known = totals[place] if totals else {}
        ours = _sums(passed, survey, outputs, r, rows, known)
        wrong |= differences(ours, plain, survey.eps, KINKS)
        whole.add(ours)
    if not wrong:
        return
    if not survey.reads:
        # a pre-activation near a kink falls as rounding has it, otherwise in every batch; and where outputs are
        # all but constant, as confident probabilities are, a sum over several of them cancels beyond its digits
        chunks = [slice(i, i + chunk) for i in range(0, passed.n, chunk)]
        own = Batches(chunks, others.r)
        for apart in (False, True):
            plain = own.sums(subject, inputs, outputs, names, apart)
            wrong = differences(whole, plain, survey.eps)
            if not wrong:
                require_no_others(subject, inputs, outputs, (others, own), survey.eps, apart)
                return
    name, difference = next(iter(wrong.items()))
    raise OtherWayError(
        wrong,
        f"the gradients of {name} add up to another sum than plain autograd's ({difference}): the pass uses "
        "it otherwise on these data than on the first samples, or in a way that was not seen; use general=True",
    )


def _sums(
    passed: Passed,
    survey: Survey,
    outputs: Sequence[int],
    r: Tensor,
    rows: slice,
    known: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Σ_nc r_nc ∂f_nc/∂p over samples ``rows``, from what is held."""
    made = dict(known)
    for site in survey.sites:
        signal = _Signal(passed, site, r, outputs, rows, survey.n_outputs)
        for name in site.operations.keys() - known.keys():
            part = signal.weighted(name, survey.shape(name))
            made[name] = made[name] + part if name in made else part
    for name, entries in survey.shown.items():
        zero = r.new_zeros(math.prod(survey.shapes[name]))
        made[name] = zero.index_copy(0, entries, made[name])
    return made


class _Signal:
    """A site's signals weighted and added over the outputs; formed when first asked for."""

    def __init__(
        self, passed: Passed, site: Site, r: Tensor, outputs: Sequence[int], rows: slice, total: int
    ) -> None:
        self._passed, self._site, self._r, self._rows = passed, site, r, rows
        self._outputs, self._total = list(outputs), total
        self._held: Tensor | None = None

    def weighted(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Σ_nc r_nc ∂f_nc/∂p, from what is held of this site."""
        site, operation = self._site, self._site.operations[name]
        size = math.prod(shape)
        if shares_signal(site, name):
            return self._sum().flatten(1).sum(dim=0)
        if is_small(site, operation, size):
            held = self._passed.ready[site.index, name][self._rows]
            return self._r.flatten() @ held.flatten(0, 1)
        x = self._passed.x[site.index][self._rows]
        return added_up(operation, x, self._sum(), samples_at_a_time(operation, site.g_size, shape))

    def _sum(self) -> Tensor:
        if self._held is None:
            if self._site.is_output:
                self._held = self._r.new_zeros(len(self._r), 1, self._total)
                self._held[:, 0, self._outputs] = self._r
            else:
                g = self._passed.g[self._site.index][self._rows]
                # as the signals lie, so that they are read once and not copied
                self._held = (
                    torch.matmul(self._r[:, None, None], g.transpose(1, 2)).squeeze(2)
                    if g.ndim == 4
                    else torch.bmm(self._r[:, None], g.flatten(2)).view(len(g), *g.shape[2:])
                )
        return self._held


def added_up(operation: Operation, x: Tensor, g: Tensor, step: int) -> Tensor:
    """The gradients of a heavy operation summed over the samples of x and g, (n, …) both."""
    total: Tensor | None = None
    for i in range(0, len(x), step):  # the samples as positions of one
        a, b = x[i : i + step].flatten(0, 1)[None], g[i : i + step].flatten(0, 1)[None, None]
        part = operation.gradient(a, b, slice(None)).flatten()
        total = part if total is None else total + part
    assert total is not None
    return total


def samples_at_a_time(operation: Operation, g_size: int, shape: tuple[int, ...]) -> int:
    return max(1, _SCRATCH // max(1, operation.scratch(g_size, shape)))
