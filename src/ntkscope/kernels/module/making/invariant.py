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

from ntkscope.kernels.module.making.passed import Passed, is_small, shares_signal
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.plain import flat
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.survey import Survey

_SCRATCH = 2**22  # numbers that an operation writes beyond its result at a time


class SelfCheckError(ValueError):
    """A kernel's entry, or a factor behind it, disagrees with autograd beyond rounding."""


def require_sums(
    passed: Passed,
    survey: Survey,
    leaves: Mapping[str, Tensor],
    output: Tensor,
    outputs: Sequence[int],
    rows: slice,
) -> None:
    """Go backward from ``output`` (n, C) once more and compare every parameter's sum.

    A sum may differ by half of its digits, or by eps^¾ of the whole gradient. Frees the graph.

    Raises SelfCheckError naming the parameter.
    """
    generator = torch.Generator().manual_seed(rows.start)
    r = torch.randn(len(output), len(outputs), generator=generator, dtype=torch.float64).to(output)
    names = [*survey.structured, *survey.unused]
    found = torch.autograd.grad(
        output[:, list(outputs)], [leaves[name] for name in names], r, allow_unused=True
    )
    expected = dict(zip(names, found, strict=True))
    made: dict[str, Tensor] = {}
    for site in survey.sites:
        signal = _Signal(passed, site, r, outputs, rows, output.shape[1])
        for name in site.operations:
            part = signal.weighted(name, leaves[name])
            made[name] = made[name] + part if name in made else part
    norms: dict[str, tuple[float, float]] = {}
    for name, gradient in expected.items():
        zero = output.new_zeros(leaves[name].numel())
        ours, plain = made.get(name, zero), zero if gradient is None else flat(gradient)
        sizes = torch.stack([torch.linalg.vector_norm(t) for t in (ours - plain, ours, plain)])
        difference, *both = sizes.tolist()
        norms[name] = difference, max(both)
    eps = torch.finfo(output.dtype).eps
    whole = math.hypot(*(size for _, size in norms.values()))
    for name, (difference, size) in norms.items():
        if not difference <= eps**0.5 * size + eps**0.75 * whole:
            raise SelfCheckError(
                f"the gradients of {name} at samples {rows.start} to {rows.stop - 1} add up to "
                f"another sum than plain autograd's (by {difference:.3g} of {size:.3g}): the pass uses it "
                "otherwise on these data than on the first samples; use general=True"
            )


class _Signal:
    """A site's signals weighted and added over the outputs; formed when first asked for."""

    def __init__(
        self, passed: Passed, site: Site, r: Tensor, outputs: Sequence[int], rows: slice, total: int
    ) -> None:
        self._passed, self._site, self._r, self._rows = passed, site, r, rows
        self._outputs, self._total = list(outputs), total
        self._held: Tensor | None = None

    def weighted(self, name: str, parameter: Tensor) -> Tensor:
        """Σ_nc r_nc ∂f_nc/∂p, from what is held of this site."""
        site, operation = self._site, self._site.operations[name]
        if shares_signal(site, name):
            return self._sum().flatten(1).sum(dim=0)
        if is_small(site, operation, parameter.numel()):
            held = self._passed.ready[site.index, name][self._rows]
            return self._r.flatten() @ held.flatten(0, 1)
        x, g = self._passed.x[site.index][self._rows], self._sum()
        step = _samples_at_a_time(site, operation, parameter)
        total = g.new_zeros(parameter.numel())
        for i in range(0, len(x), step):  # the samples as positions of one
            a, b = x[i : i + step].flatten(0, 1)[None], g[i : i + step].flatten(0, 1)[None, None]
            total += operation.gradient(a, b, slice(None)).flatten()
        return total

    def _sum(self) -> Tensor:
        if self._held is None:
            if self._site.is_output:
                self._held = self._r.new_zeros(len(self._r), 1, self._total)
                self._held[:, 0, self._outputs] = self._r
            else:
                g = self._passed.g[self._site.index][self._rows]
                self._held = torch.einsum("nc,nc...->n...", self._r, g)
        return self._held


def _samples_at_a_time(site: Site, operation: Operation, parameter: Tensor) -> int:
    return max(1, _SCRATCH // max(1, operation.scratch(site.g_size, tuple(parameter.shape))))
