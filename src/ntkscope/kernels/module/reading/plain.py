"""Gradients as a user would take them: plain autograd, one output at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject


@with_gradients
def plain_pass(
    subject: Subject, batch: Inputs, outputs: Sequence[int], place: int = 0, at_once: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Ordinary autograd on the sample at ``place`` of ``batch``.

    All its outputs, and ∂f_c/∂p for those chosen, (C, P) by parameter. at_once: by one backward pass
    that vmap batches, where it can; its rules may fail, or be wrong.
    """
    with subject.autograd() as (leaves, run):
        values = run(batch)[place]
        rows = _rows_at_once(values, leaves, outputs) if at_once else None
        return values.detach(), rows or gradient_rows(values, leaves, outputs)


def _rows_at_once(
    values: Tensor, leaves: Parameters, outputs: Sequence[int]
) -> dict[str, Tensor] | None:
    if not values.requires_grad or len(outputs) == 1:
        return None
    basis = values.new_zeros(len(outputs), len(values), requires_grad=False)
    basis[range(len(outputs)), list(outputs)] = 1.0
    try:
        with warnings.catch_warnings():  # vmap warns where it falls back on a loop of its own
            warnings.simplefilter("ignore")
            found = torch.autograd.grad(
                values, list(leaves.values()), basis,
                retain_graph=True, allow_unused=True, is_grads_batched=True,
            )  # fmt: skip
    except RuntimeError:
        return None
    made: dict[str, Tensor] = {}
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        whole = leaf.new_zeros(len(outputs), *leaf.shape) if gradient is None else gradient
        if whole.shape != (len(outputs), *leaf.shape):
            return None
        dense = whole.to_dense() if whole.is_sparse else whole
        made[name] = dense.detach().reshape(len(outputs), -1)
    return made


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


@with_gradients
def summed_gradients(
    subject: Subject, batch: Inputs, outputs: Sequence[int], r: Tensor, names: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The batch's outputs (n, ·), and Σ_nc r_nc ∂f_nc/∂p of the ``outputs`` c by parameter, flat; r: (n, C)."""
    with subject.autograd() as (leaves, run):
        made = run(batch)
        return made.detach(), _summed(made, {name: leaves[name] for name in names}, outputs, r)


@with_gradients
def gradients_at(
    subject: Subject, parameters: Parameters, batch: Inputs, outputs: Sequence[int], r: Tensor
) -> dict[str, Tensor]:
    """The same sums at other ``parameters``."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    return _summed(subject(leaves, batch), leaves, outputs, r)


def _summed(
    made: Tensor, leaves: Parameters, outputs: Sequence[int], r: Tensor
) -> dict[str, Tensor]:
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if made.requires_grad:
        found = torch.autograd.grad(
            made[:, list(outputs)], list(leaves.values()), r, allow_unused=True
        )
    return {
        name: (torch.zeros_like(leaf).reshape(-1) if g is None else flat(g)).detach()
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }


def differences(
    ours: Mapping[str, Tensor], plain: Mapping[str, Tensor], eps: float, wide: float = 1.0
) -> dict[str, str]:
    """Of the parameters whose sums differ by more than ``wide`` times half of their digits and eps^¾ of all."""
    norms: dict[str, tuple[float, float]] = {}
    for name, theirs in plain.items():
        own = ours.get(name, torch.zeros_like(theirs))
        sizes = torch.stack([torch.linalg.vector_norm(t) for t in (own - theirs, own, theirs)])
        difference, *both = sizes.tolist()
        norms[name] = difference, max(both)
    whole = math.hypot(*(size for _, size in norms.values()))
    return {
        name: f"by {difference:.3g} of {size:.3g}" for name, (difference, size) in norms.items()
        if not difference <= wide * (eps**0.5 * size + eps**0.75 * whole)
    }  # fmt: skip


def flat(gradient: Tensor) -> Tensor:
    """One axis; dense, where an embedding made it sparse."""
    return (gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1)
