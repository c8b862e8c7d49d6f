"""``gauss_newton_kernel``: a model, its data and the loss that it is trained with."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import memory
from ntkscope._base.caution import warn
from ntkscope._base.samples import as_samples
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.loss.kernel import GaussNewtonKernel
from ntkscope.kernels.loss.losses import AtOutputs, LossLike, loss_at
from ntkscope.kernels.loss.targets import as_tensor, counted
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.interface import Output
from ntkscope.kernels.module.reading.subject import take
from ntkscope.kernels.prepared import Options, Prepared


def loss_of(prepared: Prepared, loss: LossLike, targets: Any) -> AtOutputs:
    """The loss at a model's outputs on the samples that it was read on; its ``note`` is for the caller to give.

    Raises ValueError without targets; what :func:`loss_at` raises.
    """
    if targets is None:
        raise ValueError(
            "targets are missing: give them by targets=, or samples that come with labels (a dataset "
            "of pairs, a dict with labels)"
        )
    at = loss_at(loss, _shaped_outputs(prepared), targets)
    return replace(at, note=_unshifted(prepared, at, targets))


def warn_of(at: AtOutputs) -> None:
    """Give its note as a warning."""
    if at.note:
        warn(at.note)


def _unshifted(prepared: Prepared, at: AtOutputs, targets: Any) -> str:
    """What to say where a model that predicts the next token is compared with the tokens it was given.

    Hugging Face's causal models move the labels by one inside their own loss; their scores are not moved.
    """
    if not isinstance(prepared, PreparedModule) or at.unit != "token":
        return ""
    name = prepared.subject.title
    labels = as_tensor(targets)
    places = counted(labels)
    copied = any(
        part.shape == labels.shape and bool((part.cpu() == labels)[places].all())
        for part in prepared.rows
    )
    if not copied or not re.search(r"(ForCausalLM|LMHead\w*)$", name):
        return ""
    return (
        f"{name} scores the next token, and the labels are the tokens themselves, at the same places: this is "
        "not the loss that it is trained with. Leave labels out of the inputs, and give "
        "output=lambda out: out.logits[:, :-1] with targets=input_ids[:, 1:]"
    )


def _shaped_outputs(prepared: Prepared) -> Tensor:
    """The outputs on the samples as the model returns them, (N, …)."""
    outputs = prepared.outputs()
    return outputs.reshape(len(outputs), *_output_shape(prepared, outputs))


def require_blocks(at: AtOutputs) -> None:
    """Raises NotEnoughMemoryError where a sample's outputs are too many for the kernel of their pairs."""
    outputs = at.gradient.numel() // len(at.outputs)
    memory.require(
        3.0 * outputs**2 * at.gradient.element_size(),
        f"the kernel of the {outputs} outputs of one sample",
        "take sharpness(..., gauss_newton=True), which needs products alone, or fewer outputs",
    )  # fmt: skip


def _output_shape(prepared: Prepared, outputs: Tensor) -> tuple[int, ...]:
    """Of one sample's outputs as the model returns them; the kernel's are flat."""
    if not isinstance(prepared, PreparedModule):
        return tuple(outputs.shape[1:])
    subject = prepared.subject
    few = take(prepared.rows, slice(0, min(2, len(outputs))))  # some models refuse a batch of one
    with torch.enable_grad(), subject.runs.own() as (_, run):
        return tuple(subject.interface.pick(run(few)).shape[1:])


def gauss_newton_kernel(
    model: Any,
    X: Any,
    targets: Any = None,
    *,
    loss: LossLike = "cross_entropy",
    params: Any = None,
    max_memory: float | int | None = None,
    chunk_size: int | None = None,
    self_check: bool = True,
    general: bool = False,
    output: Output = None,
) -> GaussNewtonKernel:
    """The Gauss-Newton matrix of ``loss`` at ``model``, in function space.

    Parameters
    ----------
    targets: the labels of X in its order; those that come with X where none are given.
    loss: ``"cross_entropy"`` (mean over samples; of scores (N, T, C) with classes (N, T), as language models
        have them, over tokens, where a class of −100 does not count), ``"binary_cross_entropy"`` of logits
        with targets 0 or 1 and ``"mse"`` (means over samples and outputs; for ``"mse"`` whole numbers (N,)
        with several outputs are classes, compared as one-hot rows), or a function of (outputs, targets) that returns one number, a sum over the samples,
        convex in them.
    X, params, max_memory, chunk_size, self_check, general, output: as in :func:`empirical_ntk`.
    model: as in :func:`empirical_ntk`.

    Returns
    -------
    GaussNewtonKernel: r rows for each sample or token, r = C − 1 for the cross-entropy, whose eigenvalues
    are those of Jᵀ (∇²L) J but for zeros. Gradient descent on L, linearised, is stable below 2/λ_max.

    Raises what :func:`empirical_ntk` raises, and ValueError for targets that do not fit the loss.
    """
    samples = as_samples(X)
    options = Options(params, max_memory, chunk_size, self_check, general, output)
    prepared = prepare(model, samples, options)
    at = loss_of(prepared, loss, samples.targets if targets is None else targets)
    warn_of(at)
    require_blocks(at)
    pairs: Kernel = prepared.kernel("full")
    return GaussNewtonKernel(pairs, at)
