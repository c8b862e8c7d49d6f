"""What the passes leave behind, and which of it a parameter's term needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ntkscope.kernels.module.holding.formed_block import FormedBlock
from ntkscope.kernels.module.reading.layers.elementwise import Shift
from ntkscope.kernels.module.reading.layers.layer import Operation
from ntkscope.kernels.module.reading.sites import Site
from ntkscope.kernels.module.reading.survey import Survey


@dataclass
class Passed:
    """What is kept of N samples and the outputs asked for.

    x: inputs by site, (N, …). g: gradients of the outputs by site, (N, C, …).
    ready: gradients with respect to a small parameter, (N, C, P), by site and name.
    formed: the terms that were made on the way, of which nothing is kept.
    outputs: of the model, all of them, (N, ·); None where no pass was made.
    """

    n: int
    n_outputs: int
    near_kinks: int = 0
    outputs: Tensor | None = None
    x: dict[int, Tensor] = field(default_factory=dict)
    g: dict[int, Tensor] = field(default_factory=dict)
    ready: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    formed: dict[str, FormedBlock] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        held = [*self.x.values(), *self.g.values(), *self.ready.values()]
        return sum(t.numel() * t.element_size() for t in held)

    def output(self, index: int) -> Passed:
        """The same for one of the outputs."""
        one = slice(index, index + 1)
        return Passed(
            self.n, 1, self.near_kinks, self.outputs, self.x,
            {k: v[:, one].contiguous() for k, v in self.g.items()},
            {k: v[:, one].contiguous() for k, v in self.ready.items()},
        )  # fmt: skip


def is_small(site: Site, operation: Operation, size: int) -> bool:
    """Whether a per-sample gradient of ``size`` numbers takes no more room than the g behind it."""
    if operation not in site.heavy.values():
        return True
    return site.positions > 1 and size <= site.g_size


def shares_signal(site: Site, name: str) -> bool:
    """Whether a bias has the signals of the weight beside it as its gradient."""
    operation = site.operations[name]
    each = isinstance(operation, Shift) and operation.of_each(site.g_size)
    return each and bool(site.heavy) and site.positions == 1


def numbers_held(survey: Survey, n_outputs: int) -> int:
    """Numbers that :func:`collect` keeps for one sample."""
    total = survey.n_outputs
    for site in survey.sites:
        small = {
            name: is_small(site, op, survey.size(name)) for name, op in site.operations.items()
        }
        if not all(small.values()):
            total += site.x_size + (0 if site.is_output else n_outputs * site.g_size)
        for name, ready in small.items():
            if ready and not shares_signal(site, name):
                total += n_outputs * survey.size(name)
    return total


def scratch_held(survey: Survey) -> int:
    """Numbers that :func:`collect` makes of one sample's inputs once for all outputs."""
    return sum(
        op.scratch(site.g_size, survey.shape(name))
        for site in survey.sites
        for name, op in site.heavy.items()
        if is_small(site, op, survey.size(name))
    )
