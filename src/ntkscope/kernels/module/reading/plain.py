"""Gradients as a user would take them: plain autograd, one output at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject


@with_gradients
def plain_pass(
    subject: Subject, batch: Inputs, outputs: Sequence[int], place: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Ordinary autograd on the sample at ``place`` of ``batch``.

    All its outputs, and ∂f_c/∂p for those chosen, (C, P) by parameter.
    """
    with subject.autograd() as (leaves, run):
        values = run(batch)[place]
        return values.detach(), gradient_rows(values, leaves, outputs)


def gradient_rows(values: Tensor, leaves: Parameters, outputs: Sequence[int]) -> dict[str, Tensor]:
    """∂values[c]/∂p, (C, P) by parameter."""
    rows: dict[str, list[Tensor]] = {name: [] for name in leaves}
    for place, output in enumerate(outputs):
        gradients: Sequence[Tensor | None] = [None] * len(leaves)
        if values.requires_grad:
            gradients = torch.autograd.grad(
                values[output], list(leaves.values()),
                retain_graph=place < len(outputs) - 1, allow_unused=True,
            )  # fmt: skip
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            rows[name].append(
                torch.zeros_like(leaf).reshape(-1) if gradient is None else flat(gradient)
            )
    return {name: torch.stack(parts) for name, parts in rows.items()}


def flat(gradient: Tensor) -> Tensor:
    """One axis; dense, where an embedding made it sparse."""
    return (gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1)
