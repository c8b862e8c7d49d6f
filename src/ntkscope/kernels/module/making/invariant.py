"""The held factors against autograd, on all samples: Σ_nc r_nc ∂f_nc/∂p for random weights r.

From the factors it is one contraction a layer, from autograd one backward pass: as in Freivalds'
test of a matrix product, what is wrong for some sample, output or entry changes the sum with
probability one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ntkscope.kernels.module.making.errors import OtherWayError
from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.independence import half_of_digits, require_own_outputs
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.plain import flat
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.subject import Inputs, Subject, take
from ntkscope.kernels.module.reading.survey import Survey

_BESIDE = 32  # samples in a batch of others
_SCRATCH = 2**22  # numbers that an operation writes beyond its result at a time


def weights(rows: slice, n: int, outputs: Sequence[int], like: Tensor) -> Tensor:
    """r of the samples ``rows`` of n, (·, C)."""
    count = len(range(n)[rows])
    generator = torch.Generator().manual_seed(rows.start)
    return torch.randn(count, len(outputs), generator=generator, dtype=torch.float64).to(like)


def require_sums(
    passed: Passed,
    survey: Survey,
    leaves: Mapping[str, Tensor],
    output: Tensor,
    outputs: Sequence[int],
    rows: slice,
    totals: Mapping[str, Tensor] | None = None,
) -> None:
    """Go backward from ``output`` (n, C) once more and compare every parameter's sum.

    ``rows``: the samples behind it. ``totals``: the sums of parameters of which nothing is held. A sum
    may differ by half of its digits, or by eps^¾ of the whole gradient. Frees the graph.

    Raises OtherWayError naming the parameters.
    """
    r = weights(rows, passed.n, outputs, output)
    names = [*survey.structured, *survey.unused]
    found: Sequence[Tensor | None] = [None] * len(names)
    if output.requires_grad:
        found = torch.autograd.grad(
            output[:, list(outputs)], [leaves[name] for name in names], r, allow_unused=True
        )
    expected = dict(zip(names, found, strict=True))
    known = totals or {}
    made = dict(known)
    for site in survey.sites:
        signal = _Signal(passed, site, r, outputs, rows, output.shape[1])
        for name in site.operations.keys() - known.keys():
            part = signal.weighted(name, survey.shape(name))
            made[name] = made[name] + part if name in made else part
    norms: dict[str, tuple[float, float]] = {}
    for name, gradient in expected.items():
        zero = output.new_zeros(leaves[name].numel())
        ours, plain = made.get(name, zero), zero if gradient is None else flat(gradient)
        if name in survey.shown:
            ours = zero.index_copy(0, survey.shown[name], ours)
        sizes = torch.stack([torch.linalg.vector_norm(t) for t in (ours - plain, ours, plain)])
        difference, *both = sizes.tolist()
        norms[name] = difference, max(both)
    whole = math.hypot(*(size for _, size in norms.values()))
    eps = survey.eps
    wrong = {
        name: sizes for name, sizes in norms.items()
        if not sizes[0] <= eps**0.5 * sizes[1] + eps**0.75 * whole
    }  # fmt: skip
    if wrong:
        name, (difference, size) = next(iter(wrong.items()))
        raise OtherWayError(
            wrong,
            f"the gradients of {name} at samples {rows.start} to {rows.stop - 1} add up to "
            f"another sum than plain autograd's (by {difference:.3g} of {size:.3g}): the pass uses it "
            "otherwise on these data than on the first samples; use general=True",
        )


def batches_of_others(n: int) -> list[slice]:
    """The n samples in batches of samples that did not lie beside one another."""
    groups = min(n, max(2, -(-n // _BESIDE)))
    return [slice(start, n, groups) for start in range(groups)]


def require_own_gradients(
    passed: Passed,
    subject: Subject,
    survey: Survey,
    inputs: Inputs,
    outputs: Sequence[int],
    totals: Sequence[Mapping[str, Tensor]] | None = None,
) -> None:
    """The same in batches of other samples beside one another, and their outputs.

    For passes that read values: what a branch does to one sample may follow from the others.
    Raises OtherWayError, or ValueError where outputs differ.
    """
    for place, rows in enumerate(batches_of_others(passed.n)):
        with subject.autograd() as (leaves, run):
            output = run(take(inputs, rows))
            before = passed.outputs
            assert before is not None
            together, again = (dict(enumerate(t)) for t in (before[rows], output.detach()))
            floor = survey.rounding + half_of_digits(before)
            require_own_outputs(subject, together, again, floor)
            known = totals and totals[place]
            require_sums(passed, survey, leaves, output, outputs, rows, known or None)


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
