"""A loss at some samples of a model, up to second order in their outputs, and its gradients near θ_0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.kernels.loss.losses import AtOutputs
from ntkscope.kernels.loss.roots import Roots
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.kernels.module.reading.plain import flat
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject, take

_FEW = 3  # samples of a trial


@dataclass(frozen=True, eq=False)
class Share:
    """L ≈ Σ_b ⟨g_b, f_b⟩ + ½‖R_bᵀ(f_b − f_b(θ_0))‖² over the blocks b of some samples.

    At θ_0 that has the gradient and the Hessian of L: g and R Rᵀ are L's derivatives in the outputs.

    number: which share of the data it is. eps: of the coarsest precision in the model.
    """

    number: int
    eps: float
    subject: Subject
    inputs: Inputs
    gradient: Float[Tensor, "b C"]
    roots: Roots

    def blocks(self, outputs: Tensor) -> Float[Tensor, "b C"]:
        """Outputs by block."""
        return outputs.reshape(self.gradient.shape)

    def curved(self, moved: Float[Tensor, "b C"]) -> Float[Tensor, "b C"]:
        """R Rᵀ of changes of the outputs."""
        return self.roots.push(self.roots.pull(moved[..., None]))[..., 0]

    def slope(self, weights: Float[Tensor, "b C"]) -> Float[Tensor, P]:
        """Jᵀ w by one backward pass."""
        with self.subject.autograd() as (leaves, run):
            return backward(run(self.inputs), leaves, weights)

    def slope_near(self, shift: Float[Tensor, P], outputs: Tensor) -> Float[Tensor, P]:
        """The gradient at θ_0 + shift; ``outputs``: at θ_0."""
        own = self.subject.parameters
        parts = dict(zip(own, split(shift, own), strict=True))
        moved_by = lambda values: {n: v + parts[n] if n in parts else v for n, v in values.items()}  # noqa: E731
        with _changed(self.subject, moved_by).autograd() as (leaves, run):
            near = run(self.inputs)
            moved = self.curved(self.blocks(near.detach() - outputs))
            return backward(near, leaves, self.gradient + moved)

    def as_float64(self) -> Share:
        """The same in float64, where the model runs there."""
        wide = torch.float64
        subject = _changed(self.subject, _wide)
        inputs = tuple(part.to(wide) if part.is_floating_point() else part for part in self.inputs)
        roots = self.roots.to(self.gradient.device, wide)
        return Share(self.number, self.eps, subject, inputs, self.gradient.to(wide), roots)


class Shares:
    """A loss on all samples, in the chunks that a pass has memory for."""

    def __init__(self, prepared: PreparedModule, at: AtOutputs) -> None:
        self._prepared, self._at, self._roots = prepared, at, at.all_roots()
        self._n = len(prepared.rows[0])
        self._each = len(at.gradient) // self._n  # blocks of a sample

    def __iter__(self) -> Iterator[Share]:
        step = self._prepared.chunk
        for i in range(0, self._n, step):
            samples = slice(i, min(i + step, self._n))
            blocks = slice(samples.start * self._each, samples.stop * self._each)
            yield self._of(samples, blocks, i)

    def few(self) -> Share:
        """Of the first samples that count, so many that their outputs depend on the parameters."""
        counted = torch.unique(self._at.kept // self._each)
        most = min(len(counted), max(_FEW, self._prepared.chunk))
        count = min(_FEW, most)
        while True:
            share = self._first(counted[:count])
            signs = torch.arange(share.gradient.numel(), device=counted.device) % 3 - 0.75
            slope = share.slope(signs.reshape(share.gradient.shape).to(share.gradient))
            if count == most or bool(slope.any()):
                return share
            count = min(4 * count, most)

    def _first(self, samples: Tensor) -> Share:
        blocks = torch.arange(self._each, device=samples.device)
        return self._of(samples, (samples[:, None] * self._each + blocks).reshape(-1), -1)

    def _of(self, samples: slice | Tensor, blocks: slice | Tensor, number: int) -> Share:
        rows, gradient = take(self._prepared.rows, samples), self._at.gradient[blocks]
        eps, subject = self._prepared.survey.eps, self._prepared.subject
        return Share(number, eps, subject, rows, gradient, self._roots[blocks])


def backward(outputs: Tensor, leaves: Parameters, weights: Tensor) -> Float[Tensor, P]:
    """Jᵀ w; zero where the outputs use no parameter."""
    own = list(leaves.values())
    found: Sequence[Tensor | None] = [None] * len(own)
    if outputs.requires_grad:
        found = torch.autograd.grad(outputs, own, weights.reshape(outputs.shape), allow_unused=True)
    return joined(found, own)


def joined(slopes: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> Float[Tensor, P]:
    """One vector, with zeros for what is missing."""
    return torch.cat(
        [flat(torch.zeros_like(p) if g is None else g) for g, p in zip(slopes, leaves, strict=True)]
    )


def split(vector: Float[Tensor, P], leaves: Parameters) -> list[Tensor]:
    """A vector in the parameters' shapes."""
    parts = vector.split([p.numel() for p in leaves.values()])
    return [part.view_as(p) for part, p in zip(parts, leaves.values(), strict=True)]


def _wide(values: Parameters) -> Parameters:
    return {n: v.to(torch.float64) if v.is_floating_point() else v for n, v in values.items()}


def _changed(subject: Subject, change: Callable[[Parameters], Parameters]) -> Subject:
    """The same at other values of its parameters."""
    held = {f.name: getattr(subject.runs, f.name) for f in fields(cast(Any, subject.runs))}
    tensors = {
        name: change(value) for name, value in held.items()
        if isinstance(value, dict) and all(isinstance(v, Tensor) for v in value.values())
    }  # fmt: skip
    runs = replace(cast(Any, subject.runs), **tensors)
    return replace(
        subject, runs=runs, parameters=change(subject.parameters), fixed=change(subject.fixed)
    )
