"""Whether gradients follow from the samples of their batch, or only from where rounding puts a kink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.plain import differences, gradients_at, summed_gradients
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject, take

# Units that rounding moves across a kink are a share of some eps of all, and change a sum of random signs by its
# root: so many times √eps of sums in two batches of the same samples
KINKS = 32.0
_MOVED = 1e-3  # of the largest entry
_POINTS = 3


class Totals(dict[str, Tensor]):
    """Totals by parameter that grow."""

    def add(self, part: Mapping[str, Tensor]) -> None:
        for name, tensor in part.items():
            self[name] = self[name] + tensor if name in self else tensor


@dataclass(frozen=True)
class Batches:
    """All samples in ``groups``, and the weights r of their sums, (N, C)."""

    groups: Sequence[slice]
    r: Tensor

    def batch(self, inputs: Inputs, rows: slice) -> tuple[Inputs, Tensor]:
        """The samples of a group, and their r."""
        return take(inputs, rows), self.r[rows]

    def sums(
        self,
        subject: Subject,
        inputs: Inputs,
        outputs: Sequence[int],
        names: Sequence[str],
        apart: bool,
        at: Parameters | None = None,
    ) -> Totals:
        """Plain autograd's over all groups; ``apart``: one output at a time. ``at``: other parameters than the subject's."""
        sums = Totals()
        for rows in self.groups:
            part, r = self.batch(inputs, rows)
            columns = r.shape[1] if apart else 1
            for c in range(columns):
                own = r * (torch.arange(r.shape[1], device=r.device) == c) if apart else r
                if at is None:
                    sums.add(summed_gradients(subject, part, outputs, own, names)[1])
                else:
                    sums.add(gradients_at(subject, at, part, outputs, own))
        return sums


def require_no_others(
    subject: Subject,
    inputs: Inputs,
    outputs: Sequence[int],
    both: tuple[Batches, Batches],
    eps: float,
    apart: bool,
) -> None:
    """Raises ValueError where a parameter's gradients are others in both at moved parameters and data, each time.

    There no pre-activation lies at a kink but by chance. A point where the model does not run, or is not finite,
    says nothing.
    """

    def seen(seed: int) -> set[str]:
        generator = torch.Generator().manual_seed(seed)

        def moved(values: Tensor) -> Tensor:
            if not values.is_floating_point() or not values.numel():
                return values
            noise = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values)
            return values + _MOVED * values.abs().max() * noise

        data = tuple(moved(part) for part in inputs)
        parameters: Parameters = {name: moved(value) for name, value in subject.parameters.items()}
        found = [batches.sums(subject, data, outputs, (), apart, parameters) for batches in both]
        if not all(bool(torch.isfinite(t).all()) for sums in found for t in sums.values()):
            return set()
        some, others = found
        return {*differences(some, others, eps, KINKS)}

    left: set[str] | None = None
    for seed in range(_POINTS):
        try:
            found = seen(seed)
        except (RuntimeError, ValueError, IndexError):
            return
        left = found if left is None else left & found
        if not left:
            return
    assert left
    raise ValueError(
        f"the samples see one another: the gradients of {min(left)} change with the other samples of a "
        f"batch, so none has a gradient of its own ({subject.title}); look for a hook or a backward "
        "pass that takes means or sizes of the batch"
    )
