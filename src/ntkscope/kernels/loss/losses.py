"""Losses as the kernel needs them: their value, and a root of the Hessian at each sample's outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ntkscope._base.specs import unknown
from ntkscope.kernels.loss.roots import DiagonalRoots, HeldRoots, Roots, SoftmaxRoots
from ntkscope.kernels.loss.targets import (
    IGNORED,
    binary_targets,
    class_targets,
    counted,
    free_targets,
    real_targets,
)

LossLike = str | Callable[..., Any]
NAMED = ("cross_entropy", "binary_cross_entropy", "mse")
_HALVINGS = 12  # of the outputs, on the way to 0
_HELD = 1 << 24  # entries of all Hessians up to which a softmax's roots are held as matrices


@dataclass(frozen=True, eq=False)
class AtOutputs:
    """A loss at the outputs F of N samples, and its second-order part there: block by block.

    A block is a sample's outputs, or a token's where the loss is a sum over the tokens of a sample.

    value: L(F). roots: R with R_b R_bᵀ = ∇²_{f_b} L, (C, r) for each of the blocks ``kept``; r is C less
    the directions in which no block's Hessian has any curvature. kept: the numbers of the blocks that count
    in L, of B in all. gradient: ∂L/∂F, (B, C). unit: "sample" or "token". outputs: F, (N, …). note: a caution
    about the targets, or "".
    """

    title: str
    value: float
    roots: Roots
    gradient: Float[Tensor, "B C"]
    kept: Int[Tensor, b]
    outputs: Float[Tensor, N * shape]
    unit: str = "sample"
    note: str = ""

    def all_roots(self) -> Roots:
        """With zeros for the blocks that do not count."""
        count = len(self.gradient)
        return self.roots if len(self.kept) == count else self.roots.spread(count, self.kept)


def loss_at(loss: LossLike, outputs: Float[Tensor, N * shape], targets: Any) -> AtOutputs:
    """``loss`` at the outputs of a model on its samples.

    ``"cross_entropy"`` (targets: classes, or probabilities; of outputs (N, T, C) one for each token),
    ``"binary_cross_entropy"`` (of logits; targets from 0 to 1, one for each output) and ``"mse"`` (of real
    targets, or of classes as one-hot rows) are torch's, means over the samples or tokens, and the last two
    over samples and outputs; a class of −100 does not count. A function of (outputs, targets) returns one number that is a sum over the samples,
    weighted or not.

    Raises ValueError for targets that do not fit, a loss that mixes samples or is not convex in the
    outputs, TypeError for what is no loss.
    """
    if isinstance(loss, str):
        if loss not in NAMED:
            raise ValueError(unknown("loss", loss, NAMED) + ", or a function of (outputs, targets)")
        flat = outputs.flatten(1)
        if loss == "cross_entropy":
            return _cross_entropy(outputs, targets)
        return (_mse if loss == "mse" else _binary)(flat, targets)
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            f"loss must be {', '.join(map(repr, NAMED))} or a function of (outputs, targets) such as "
            f"torch.nn.functional.huber_loss or torch.nn.CrossEntropyLoss(), got {loss!r}"
        )
    return _of_function(loss, outputs, free_targets(targets, outputs))


def _cross_entropy(outputs: Tensor, targets: Any) -> AtOutputs:
    labels = class_targets(targets, outputs)
    flat = outputs.flatten(0, -2)
    counts = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    if not labels.is_floating_point():
        counts = counted(labels)
    kept = torch.nonzero(counts)[:, 0]
    n, C = len(kept), flat.shape[1]
    p = torch.softmax(flat, dim=1)
    wanted = labels if labels.is_floating_point() else F.one_hot(labels.clamp_min(0), C).to(p)
    gradient = torch.where(counts[:, None], p - wanted, 0.0) / n
    p = p[kept]
    small = n * C * C <= _HELD
    roots: Roots = SoftmaxRoots.held(p, 1.0 / n) if small else SoftmaxRoots(p, 1.0 / n)
    value = float(F.cross_entropy(flat, labels, ignore_index=IGNORED))
    unit = "sample" if outputs.ndim == 2 else "token"
    return AtOutputs("cross-entropy", value, roots, gradient, kept, outputs, unit)


def _mse(outputs: Tensor, targets: Any) -> AtOutputs:
    Y = real_targets(targets, outputs)
    N, C = outputs.shape
    value = F.mse_loss(outputs, Y)
    gradient = 2 * (outputs - Y) / (N * C)
    roots = DiagonalRoots(torch.full_like(outputs, (2.0 / (N * C)) ** 0.5))
    return AtOutputs("MSE", float(value), roots, gradient, _all(outputs), outputs)


def _binary(outputs: Tensor, targets: Any) -> AtOutputs:
    """p(1 − p) of each output by itself, as the product of two sigmoids: 1 − p keeps its digits."""
    Y = binary_targets(targets, outputs)
    p, q, entries = torch.sigmoid(outputs), torch.sigmoid(-outputs), outputs.numel()
    roots = DiagonalRoots((p * q / entries).sqrt())
    value = F.binary_cross_entropy_with_logits(outputs, Y)
    gradient = torch.where(Y > 0.5, (1 - Y) - q, p - Y) / entries
    return AtOutputs("binary cross-entropy", float(value), roots, gradient, _all(outputs), outputs)


def _all(outputs: Tensor) -> Tensor:
    return torch.arange(len(outputs), device=outputs.device)


def _of_function(loss: Callable[..., Any], outputs: Tensor, targets: Any) -> AtOutputs:
    title = getattr(loss, "__name__", type(loss).__name__)
    with torch.enable_grad():
        leaf = outputs.detach().clone().requires_grad_()
        try:
            value = loss(leaf, targets)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise ValueError(
                f"{title} does not take outputs {tuple(outputs.shape)} with targets {shape}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise ValueError(
                f"{title} must return one number that depends on the outputs (reduction='mean' or "
                "'sum')"
            )
        gradient = torch.autograd.grad(value.sum(), leaf, create_graph=True)[0].flatten(1)
        typical = _steepest(loss, outputs, targets)
        blocks = _hessian_blocks(title, gradient, leaf, typical)
    roots, slope = HeldRoots(_roots(title, blocks, typical)), gradient.detach()
    return AtOutputs(title, float(value.detach()), roots, slope, _all(outputs), outputs)


def _steepest(loss: Callable[..., Any], outputs: Tensor, targets: Any) -> float:
    """The largest curvature of secants of ∂L/∂f_i on the way from the outputs to 0, halving them.

    Where a loss is flat, the rounding of its Hessian is that of the terms which cancel there: their size
    shows where it is curved. Points outside the loss's domain are left out.
    """
    found = 0.0
    before: Tensor | None = None
    for halving in range(_HALVINGS):
        at = (outputs * 0.5**halving).detach().requires_grad_()
        try:
            slope = torch.autograd.grad(loss(at, targets).sum(), at)[0].flatten(1)
        except (RuntimeError, ValueError):
            return found
        if before is not None:
            moved = torch.linalg.vector_norm(at.detach().flatten(1), dim=1)  # from twice as far
            secants = torch.linalg.vector_norm(before - slope, dim=1) / moved
            known = secants[torch.isfinite(secants)]
            found = max(found, float(known.max()) if len(known) else 0.0)
        before = slope
    return found


def _hessian_blocks(title: str, gradient: Tensor, leaf: Tensor, typical: float) -> Tensor:
    """∇²_{f_i} L of every sample, (N, C, C). Raises ValueError where samples' outputs interact."""
    if not gradient.requires_grad:
        raise ValueError(f"{title} is linear in the outputs: its Hessian is zero")
    N, C = gradient.shape

    def product(weights: Tensor) -> Tensor:
        found = torch.autograd.grad(
            (gradient * weights).sum(), leaf, retain_graph=True, allow_unused=True
        )[0]
        return torch.zeros_like(weights) if found is None else found.flatten(1)

    eye = torch.eye(C, dtype=leaf.dtype, device=leaf.device)
    blocks = torch.stack([product(e.expand(N, C)) for e in eye], dim=1)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(N, C, generator=generator, dtype=torch.float64).to(leaf)
    mixed = product(v) - torch.einsum("nc,ncd->nd", v, blocks)
    size = float(torch.linalg.matrix_norm(blocks).max())
    scale = max(size, typical) * float(v.abs().max()) * C
    if not float(mixed.abs().max()) <= 1e2 * torch.finfo(leaf.dtype).eps * scale:
        raise ValueError(
            f"{title} is no sum over the samples: an output's curvature depends on another sample's"
        )
    if size == 0:
        raise ValueError(f"{title} has no curvature at these outputs: its Hessian is zero")
    return 0.5 * (blocks + blocks.mT)


def _roots(title: str, blocks: Tensor, typical: float) -> Tensor:
    """V √E of H = V E Vᵀ, without the directions that are null in every sample."""
    values, vectors = torch.linalg.eigh(blocks)
    C = values.shape[1]
    unit = 8 * C * torch.finfo(values.dtype).eps
    rounding = unit * values.abs().amax(dim=1, keepdim=True)
    allowed = rounding.clamp_min(unit * typical)
    if bool((values < -allowed).any()):
        i = int((values + allowed).amin(dim=1).argmin())
        raise ValueError(
            f"{title} is not convex in the outputs: its Hessian at sample {i} has the eigenvalue "
            f"{float(values[i, 0]):.3g}, and the Gauss-Newton matrix has no square root"
        )
    curved = int((values > rounding).sum(dim=1).max())
    kept = values[:, C - curved :].clamp_min(0).sqrt()
    return vectors[:, :, C - curved :] * kept[:, None, :]
