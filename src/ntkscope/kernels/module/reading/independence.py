"""Whether each sample has outputs of its own: alone as in its batch, today as a moment ago."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.subject import Inputs, Subject


def require_deterministic(subject: Subject, first: Tensor, inputs: Inputs, slack: Tensor) -> None:
    """Raises ValueError where a second pass over the batch gives other outputs than ``first``, by more than ``slack``."""
    if not within(first, subject({}, inputs), slack):
        raise ValueError(
            "the model is not deterministic: two passes over the same batch differ (numpy's or "
            f"Python's random numbers, a counter, a cache), so {subject.title} is another network at "
            "each pass; fix its state, or make the noise an input"
        )


def require_own_outputs(
    subject: Subject, together: Mapping[int, Tensor], alone: Mapping[int, Tensor], slack: Tensor
) -> None:
    """Compare samples' outputs in their batch with those that they have alone or in another one.

    ``slack``: by output, see :func:`slack_of`. Raises ValueError.
    """
    for sample, outputs in alone.items():
        if not within(together[sample], outputs, slack):
            raise ValueError(
                f"the samples see one another: the output of sample {sample} changes with the other "
                f"samples of its batch, so it has no gradient of its own ({subject.title}); "
                "normalise over features instead of the batch"
            )


def outputs_alone(subject: Subject, sample: Inputs) -> Tensor:
    """(C,) of a batch of one. Raises ValueError where the model does not run on it."""
    try:
        return subject({}, sample)[0]
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"the model runs on a batch but not on one sample alone: {str(error).strip()}"
        ) from error


def alike(a: Tensor, b: Tensor, floor: float = 0.0) -> bool:
    """Equal but for ``floor`` and rounding: half of the digits, relative to the largest entry."""
    if a.shape != b.shape:
        return False
    a, b = a.detach(), b.detach()
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = max(half_of_digits(a), half_of_digits(b)) + floor
    return bool(((a - b).abs() <= tolerance).all())


def within(a: Tensor, b: Tensor, slack: Tensor) -> bool:
    """Whether no output, on the last axis, differs by more than its ``slack``."""
    return a.shape == b.shape and bool(((a - b).detach().abs() <= slack).all())


def slack_of(outputs: Tensor, floor: float) -> Tensor:
    """(C,): ``floor``, what rounding may leave by the size of what outputs are made from, and half of an output's digits.

    outputs: (n, C), of some samples. An output is measured by its own size: another may be much larger.
    """
    made = outputs.detach()
    return floor + torch.finfo(made.dtype).eps ** 0.5 * made.abs().amax(dim=0)


def half_of_digits(a: Tensor) -> float:
    """√eps · the largest entry."""
    return torch.finfo(a.dtype).eps ** 0.5 * float(a.detach().abs().max()) if a.numel() else 0.0
